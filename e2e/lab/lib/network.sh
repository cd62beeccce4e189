# The lab's network: one namespace per machine, all on a bridge in a namespace of its own, the fabric. No namespace
# has a link to the host, so no packet can leave the lab. In the fabric, each machine's link carries the machine's name.

fabric() { in_network fabric "$@"; }

# Named by a file in the state folder, not by `ip netns`: that one would leave its own mount of /run/netns behind.
make_namespace() { # NAME
  : > "$state_dir/net/$1"
  unshare --net="$state_dir/net/$1" true
}

set_kernel_parameter() { # NETWORK PATH VALUE
  in_network "$1" sh -c "echo $3 > /proc/sys/net/$2"
}

# A kernel that has these as modules loads most of them by itself; one that has them built in knows no modules.
load_modules() {
  modprobe -qa overlay bridge veth nf_tables nft_compat xt_NFQUEUE xt_physdev nfnetlink_queue sch_tbf 2> /dev/null || true
  [[ -d /proc/sys/net/bridge ]] && return
  # This one would begin to filter the bridges of the host itself: the host keeps the behavior that it has without it.
  modprobe -q br_netfilter || fail "this kernel has no br_netfilter (bridge netfilter), which the nodes need for Services"
  local family
  for family in iptables ip6tables arptables; do echo 0 > "/proc/sys/net/bridge/bridge-nf-call-$family"; done
  : > "$state_dir/loaded-br-netfilter"
}

make_network() {
  local machine zone
  load_modules
  mkdir -p "$state_dir/net"
  make_namespace fabric
  fabric ip link set lo up
  fabric ip link add lab type bridge
  fabric ip link set lab up
  set_kernel_parameter fabric bridge/bridge-nf-call-iptables 0 # `lab fault slow` turns it on
  for machine in "${machines[@]}"; do
    make_namespace "$machine"
    fabric ip link add "$machine" type veth peer name eth0 netns "$state_dir/net/$machine"
    fabric ip link set "$machine" master lab up
    set_kernel_parameter "$machine" ipv6/conf/all/disable_ipv6 1
    set_kernel_parameter "$machine" ipv4/ip_forward 1
    # Without it, an answer between two pods of one node would not pass the rules that rewrote a Service's address.
    set_kernel_parameter "$machine" bridge/bridge-nf-call-iptables 1
    in_network "$machine" ip link set lo up
    in_network "$machine" ip address add "${address[$machine]}/24" dev eth0
    in_network "$machine" ip link set eth0 up
    # There is no default route, and a route is looked up before kube-proxy rewrites a Service's address.
    in_network "$machine" ip route add "$service_network" dev eth0
    for zone in "${zones[@]}"; do
      [[ $zone == "$machine" ]] || in_network "$machine" ip route add "${pod_network[$zone]}" via "${address[$zone]}"
    done
  done
}

remove_network() {
  local file
  for file in "$state_dir"/net/*; do
    [[ -e $file ]] || continue
    # A half-made one may not be mounted, and a mount that was repeated has more than one layer.
    while mountpoint -q "$file"; do umount "$file" || return 1; done
    rm -f "$file"
  done
  [[ ! -f $state_dir/loaded-br-netfilter ]] || modprobe -qr br_netfilter || true # somebody else may use it by now
}
