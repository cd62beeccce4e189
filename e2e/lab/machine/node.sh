# The programs of a zone's node: containerd, kubelet, kube-proxy. Sourced by init.sh.

. "$lab_dir/lib/packages.sh"

# containerd cannot put overlays onto an overlay, which is what the root of a container usually is.
snapshotter=overlayfs
[[ $(stat -f -c %T /run/lab/containerd) != overlayfs ]] || snapshotter=native

cat > /run/lab/etc/containerd.toml <<END
version = 2
root = "/run/lab/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab.local/pause:1"
  disable_apparmor = true
  # Without the right to lower oom_score_adj, which a container's root often lacks, no pod would start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_directory)"
    conf_dir = "/run/lab/cni"
END

cat > /run/lab/cni/10-lab.conflist <<END
{
  "cniVersion": "1.0.0",
  "name": "lab",
  "plugins": [
    {
      "type": "bridge", "bridge": "pods", "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "${pod_network[$machine]}"}]], "dataDir": "/run/cni/networks"}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
END

# Every node sees the whole host's memory; two thirds of it belong to the other two.
host_memory_mib=$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)
open_files_max=$(ulimit -Hn)
[[ $open_files_max != unlimited ]] && ((open_files_max < 1000000)) || open_files_max=1000000

cat > /run/lab/etc/kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki_dir/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki_dir/$machine.crt
tlsPrivateKeyFile: $pki_dir/$machine.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
volumePluginDir: /run/lab/kubelet/volume-plugins
clusterDNS: [$dns_service]
clusterDomain: cluster.local
resolvConf: /run/lab/etc/resolv.conf
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
maxOpenFiles: $open_files_max
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8
systemReserved: {memory: $((host_memory_mib * 2 / 3))Mi}
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
# Never collect images: there is no registry to get one back from.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
END

cat > /run/lab/etc/kube-proxy.yaml <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $pki_dir/kube-proxy.kubeconfig}
hostnameOverride: $machine
clusterCIDR: $all_pods_network
# The connection table's limits are the whole host's.
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
oomScoreAdj: 0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
END

keep_running containerd containerd --config /run/lab/etc/containerd.toml
(
  wait_until 30 "containerd of $machine" ctr version
  # Before the kubelet starts: it would ask a registry for an image that is not there.
  for image in "$state_dir"/base-images/*.tar; do
    ctr --namespace k8s.io images import "$image" >> /run/lab/log/images.log 2>&1
  done
  keep_running kubelet "$bin_dir/kubelet" --config=/run/lab/etc/kubelet.yaml --kubeconfig="$pki_dir/$machine.kubeconfig" \
    --hostname-override="$machine" --node-ip="${address[$machine]}" \
    --node-labels="topology.kubernetes.io/zone=$machine,topology.kubernetes.io/region=lab"
  keep_running kube-proxy "$bin_dir/kube-proxy" --config=/run/lab/etc/kube-proxy.yaml
  wait
) &
