# The programs of the control plane. Sourced by init.sh.

install -d -m 700 /run/lab/etcd
# No fsync: the cluster's state must outlive a stop of this machine, not one of the host.
keep_running etcd "$bin_dir/etcd" --name=lab --data-dir=/run/lab/etcd --unsafe-no-fsync --logger=zap --log-level=warn \
  --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
  --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
  --initial-cluster=lab=http://127.0.0.1:2380

apiserver_options=(
  --etcd-servers=http://127.0.0.1:2379
  --advertise-address="${address[control-plane]}" --bind-address=0.0.0.0 --secure-port=6443
  --service-cluster-ip-range="$service_network"
  --allow-privileged=true '--authorization-mode=Node,RBAC' --enable-admission-plugins=NodeRestriction
  --client-ca-file="$pki_dir/ca.crt"
  --tls-cert-file="$pki_dir/apiserver.crt" --tls-private-key-file="$pki_dir/apiserver.key"
  --kubelet-certificate-authority="$pki_dir/ca.crt" --kubelet-preferred-address-types=InternalIP
  --kubelet-client-certificate="$pki_dir/apiserver-to-kubelet.crt"
  --kubelet-client-key="$pki_dir/apiserver-to-kubelet.key"
  --service-account-issuer=https://kubernetes.default.svc.cluster.local
  --service-account-key-file="$pki_dir/service-accounts.pub"
  --service-account-signing-key-file="$pki_dir/service-accounts.key"
  --requestheader-client-ca-file="$pki_dir/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
  --requestheader-extra-headers-prefix=X-Remote-Extra-
  --proxy-client-cert-file="$pki_dir/front-proxy.crt" --proxy-client-key-file="$pki_dir/front-proxy.key"
  # There is no kube-proxy here: webhooks are called at their pods' own addresses.
  --enable-aggregator-routing=true
  # Pods leave a lost zone after 15 s instead of 5 minutes: a test waits for it.
  --default-not-ready-toleration-seconds=15 --default-unreachable-toleration-seconds=15
)
keep_running kube-apiserver "$bin_dir/kube-apiserver" "${apiserver_options[@]}"

own_kubeconfig() { # COMPONENT
  printf -- '--%s=%s\n' kubeconfig "$pki_dir/$1.kubeconfig" authentication-kubeconfig "$pki_dir/$1.kubeconfig" \
    authorization-kubeconfig "$pki_dir/$1.kubeconfig"
}
mapfile -t options < <(own_kubeconfig kube-controller-manager)
options+=(
  --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true
  --root-ca-file="$pki_dir/ca.crt" --service-account-private-key-file="$pki_dir/service-accounts.key"
  --cluster-signing-cert-file="$pki_dir/ca.crt" --cluster-signing-key-file="$pki_dir/ca.key"
  --allocate-node-cidrs=false
  # A silent node is lost after 10 s instead of 40.
  --node-monitor-period=1s --node-monitor-grace-period=10s
)
keep_running kube-controller-manager "$bin_dir/kube-controller-manager" "${options[@]}"
mapfile -t options < <(own_kubeconfig kube-scheduler)
keep_running kube-scheduler "$bin_dir/kube-scheduler" "${options[@]}" --bind-address=127.0.0.1 --leader-elect=false

# Dynamic volumes: this one writes no files itself, it makes helper pods on the node of the volume.
printf '%s' '{"nodePathMap":[{"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["/run/lab/volumes"]}]}' > /run/lab/etc/local-path.json
(
  until [[ -f $state_dir/addons-applied ]]; do sleep 0.3; done # its own settings are among the add-ons
  keep_running local-path-provisioner "$bin_dir/local-path-provisioner" start --config /run/lab/etc/local-path.json \
    --kubeconfig "$pki_dir/admin.kubeconfig" --namespace local-path-storage --helper-image lab.local/probe:1
  wait
) &
