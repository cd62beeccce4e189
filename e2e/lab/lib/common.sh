# What every part of the lab shares: where things are, how it speaks, how it waits.
# Sourced by `lab` and by the scripts that run inside a machine.

lab_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repository_dir=$(cd "$lab_dir/../.." && pwd)

# Built programs outlive a clone: they are found by the hash of what they were built from.
cache_dir=${ZAB_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/zab-lab}
# On a disk, not below /run: it holds the nodes' images and the pods' volumes, which would fill a memory file system.
state_dir=${ZAB_LAB_STATE:-/var/lib/zab-lab}
bin_dir=$state_dir/bin # a link into the cache, so that a zone powered on later runs what it ran before
pki_dir=$state_dir/pki
log_dir=$state_dir/log
faults_dir=$state_dir/faults
kubeconfig=$state_dir/kubeconfig

control_plane=control-plane
zones=(zone-a zone-b zone-c)
machines=("$control_plane" "${zones[@]}")

# The networks of the lab. They exist only inside its own namespaces, so they cannot meet the host's.
declare -A address=([control-plane]=10.77.0.10 [zone-a]=10.77.0.11 [zone-b]=10.77.0.12 [zone-c]=10.77.0.13)
declare -A pod_network=([zone-a]=10.78.1.0/24 [zone-b]=10.78.2.0/24 [zone-c]=10.78.3.0/24)
all_pods_network=10.78.0.0/16
service_network=10.96.0.0/16
kubernetes_service=10.96.0.1
dns_service=10.96.0.10
api_server=https://${address[control-plane]}:6443

say() { printf '%s\n' "$*"; }
warn() { printf 'lab: %s\n' "$*" >&2; }
fail() {
  warn "$@"
  exit 1
}

# Progress lines carry the seconds since the command began.
begun=$EPOCHREALTIME
seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }
step() { printf '%7ss  %s\n' "$(seconds_since "$begun")" "$*"; }

# On a very slow or busy host every deadline can be stretched.
patience=${ZAB_LAB_PATIENCE:-1}
[[ $patience =~ ^[1-9][0-9]?$ ]] || fail "ZAB_LAB_PATIENCE is '$patience'; expected how many times longer to wait, from 1 to 99"

# wait_until SECONDS WHAT COMMAND...: polls a quiet command. On failure says what never came; the caller names the log.
wait_until() {
  local limit=$(($1 * patience)) what=$2
  local deadline=$((SECONDS + limit))
  shift 2
  until "$@" > /dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      warn "waited $limit s in vain for: $what"
      return 1
    fi
    sleep 0.2
  done
}

# run_logged LOG WHAT COMMAND...: ends the program with the log's last lines when the command fails. In the background,
# since bash overlooks every failure inside of a function that is called before `||`.
run_logged() {
  local log=$1 what=$2
  shift 2
  "$@" > "$log" 2>&1 &
  if ! wait $!; then
    tail -n 5 "$log" >&2
    fail "$what failed; see $log"
  fi
}

is_machine() { [[ " ${machines[*]} " == *" ${1:-} "* ]]; }
is_zone() { [[ " ${zones[*]} " == *" ${1:-} "* ]]; }
machine_dir() { printf '%s/machines/%s' "$state_dir" "$1"; }

# in_network MACHINE COMMAND...: runs a command of the host with the machine's network. Not `ip netns exec`: that one
# mounts a new /sys, and /sys/fs/cgroup is empty in there.
in_network() {
  local name=$1
  shift
  nsenter --net="$state_dir/net/$name" -- "$@"
}

kubectl() { in_network "$control_plane" env KUBECONFIG="$kubeconfig" "$bin_dir/kubectl" "$@"; }
