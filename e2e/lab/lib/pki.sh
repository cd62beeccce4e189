# The cluster's certificates and kubeconfigs, made with openssl alone.

certificate_days=365

make_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$pki_dir/$1.key"; }

make_authority() { # NAME
  make_key "$1"
  openssl req -x509 -new -key "$pki_dir/$1.key" -days "$certificate_days" -subj "/CN=$1" -out "$pki_dir/$1.crt" \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

make_certificate() { # NAME AUTHORITY SUBJECT USES [ALTERNATIVE_NAMES]
  local base=$pki_dir/$1
  make_key "$1"
  {
    printf 'basicConstraints=CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$4"
    [[ -z ${5:-} ]] || printf 'subjectAltName=%s\n' "$5"
  } > "$base.extensions"
  openssl req -new -key "$base.key" -subj "$3" -out "$base.request"
  openssl x509 -req -in "$base.request" -CA "$pki_dir/$2.crt" -CAkey "$pki_dir/$2.key" -set_serial "0x$(openssl rand -hex 8)" \
    -days "$certificate_days" -extfile "$base.extensions" -out "$base.crt"
  rm "$base.request" "$base.extensions"
}

make_kubeconfig() { # NAME: with the certificate of that name inside
  local authority certificate key
  authority=$(base64 -w0 "$pki_dir/ca.crt")
  certificate=$(base64 -w0 "$pki_dir/$1.crt")
  key=$(base64 -w0 "$pki_dir/$1.key")
  cat > "$pki_dir/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters:
- name: zab-lab
  cluster: {server: "$api_server", certificate-authority-data: $authority}
users:
- name: $1
  user: {client-certificate-data: $certificate, client-key-data: $key}
contexts:
- name: zab-lab
  context: {cluster: zab-lab, user: $1}
current-context: zab-lab
END
}

make_certificates() {
  local component zone names
  install -d -m 700 "$pki_dir"
  make_authority ca
  make_authority front-proxy-ca
  make_key service-accounts
  openssl ec -in "$pki_dir/service-accounts.key" -pubout -out "$pki_dir/service-accounts.pub"
  names="IP:${address[control-plane]},IP:$kubernetes_service,IP:127.0.0.1,DNS:localhost"
  names+=",DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  make_certificate apiserver ca /CN=kube-apiserver serverAuth "$names"
  make_certificate apiserver-to-kubelet ca /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
  make_certificate front-proxy front-proxy-ca /CN=front-proxy-client clientAuth
  for component in kube-controller-manager kube-scheduler kube-proxy; do
    make_certificate "$component" ca "/CN=system:$component" clientAuth
    make_kubeconfig "$component"
  done
  for zone in "${zones[@]}"; do
    make_certificate "$zone" ca "/O=system:nodes/CN=system:node:$zone" clientAuth,serverAuth "IP:${address[$zone]},DNS:$zone"
    make_kubeconfig "$zone"
  done
  make_certificate admin ca /O=system:masters/CN=admin clientAuth
  make_kubeconfig admin
  install -m 600 "$pki_dir/admin.kubeconfig" "$kubeconfig"
}
