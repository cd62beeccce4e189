# The cluster as a whole: up, down, status.

# What is on this host: `none`, `up` (faults included, which are wanted), `broken` (half made, or left by a crash).
lab_condition() {
  local machine
  [[ -e $state_dir ]] || { printf none && return; }
  [[ -f $state_dir/ready && $(cat "$state_dir/boot-id" 2> /dev/null) == "$(cat /proc/sys/kernel/random/boot_id)" ]] ||
    { printf broken && return; }
  for machine in "${machines[@]}"; do
    is_running "$machine" || [[ -f $faults_dir/power-off.$machine ]] || { printf broken && return; }
  done
  printf up
}

# Only one command at a time may make or remove the lab. The lock is on the folder that is there in any case, so that no
# lock file is left behind.
lock_lab() {
  exec {lab_lock}< "$(dirname "$state_dir")"
  flock --wait 300 "$lab_lock" || fail "another 'lab' command has been at work on $state_dir for 5 minutes"
}

check_folders() {
  local name
  for name in ZAB_LAB_STATE=$state_dir ZAB_LAB_CACHE=$cache_dir; do
    case ${name#*=}/ in
      /run/* | /var/run/* | /var/log/* | /proc/* | /sys/*)
        fail "${name%%=*} is ${name#*=}; expected a folder on a disk: a machine has its own /run, /var/log, /proc and /sys"
        ;;
      /*) ;;
      *) fail "${name%%=*} is ${name#*=}; expected an absolute path" ;;
    esac
  done
}

up() {
  check_folders
  require_root up
  lock_lab
  case $(lab_condition) in
    up)
      say "The lab is already up."
      status
      say_next
      return
      ;;
    broken)
      warn "there is a half-made or half-dead lab in $state_dir:"
      status >&2
      fail "remove it with 'make lab-down', then bring it up again"
      ;;
  esac
  install_packages
  build_all
  trap 'warn "the lab did not come up. Its logs are below $state_dir (log, machines/*/log); remove it with: make lab-down"' EXIT
  make_state_folder
  run_logged "$log_dir/certificates.log" "making the certificates" make_certificates
  step "certificates made"
  run_logged "$log_dir/network.log" "making the network" make_network
  step "network made: ${zones[*]}, $control_plane; no way out"
  start_cluster
  trap - EXIT
  : > "$state_dir/ready"
  say_next
}

make_state_folder() {
  mkdir -p "$state_dir"
  chmod 700 "$state_dir"
  cat /proc/sys/kernel/random/boot_id > "$state_dir/boot-id"
  mkdir -p "$log_dir" "$faults_dir" "$state_dir/machines"
  ln -s "$(components_dir)" "$bin_dir"
  ln -s "$(tools_dir)" "$state_dir/tools"
  ln -s "$(base_images_dir)" "$state_dir/base-images"
  # The only thing outside of the state folder and the cache. The kubelet knows this path by heart.
  if [[ ! -d /var/lib/kubelet ]]; then
    mkdir /var/lib/kubelet
    : > "$state_dir/made-var-lib-kubelet"
  fi
}

start_cluster() {
  local machine pids=() log=$log_dir/addons.log
  for machine in "${machines[@]}"; do
    start_machine "$machine" &
    pids+=($!)
  done
  for machine in "${pids[@]}"; do wait "$machine"; done
  step "machines started"
  wait_until 60 "the API server" kubectl get --raw /readyz ||
    fail "see $(machine_dir "$control_plane")/log/kube-apiserver.log and etcd.log beside it"
  step "API server ready"
  wait_until 30 "the API server to take the add-ons" apply_addons || fail "$(tail -n 1 "$log") (see $log)"
  wait_until 60 "${#zones[@]} nodes to register" nodes_registered || fail "$(node_logs)"
  kubectl wait --for=condition=Ready node --all --timeout="$((90 * patience))s" > "$log_dir/nodes.log" 2>&1 || fail "not all nodes became Ready: $(node_logs)"
  step "nodes Ready"
  kubectl -n kube-system rollout status daemonset/coredns --timeout="$((90 * patience))s" > "$log_dir/dns.log" 2>&1 ||
    fail "the cluster's DNS did not become ready: $(node_logs); see also $log_dir/dns.log"
  step "DNS ready"
}
apply_addons() {
  kubectl apply -f "$lab_dir/manifests" > "$log_dir/addons.log" 2>&1 && : > "$state_dir/addons-applied"
}
nodes_registered() { [[ $(kubectl get nodes --output name | wc -l) == "${#zones[@]}" ]]; }
node_logs() { printf 'see %s/machines/zone-*/log: init.log, kubelet.log, containerd.log' "$state_dir"; }

say_next() {
  say ""
  say "The lab is up. Next: 'make lab-shell' opens a shell where kubectl and helm know it (try: kubectl get nodes);"
  say "'e2e/lab/lab help' lists what else it can do; 'make lab-down' removes it."
}

down() {
  local machine pids=() failed=0
  check_folders
  require_root down
  lock_lab
  if [[ ! -e $state_dir ]]; then
    say "There is no lab to remove."
    return
  fi
  stop_packet_delays "${zones[@]}"
  for machine in "${machines[@]}"; do
    [[ -d $(machine_dir "$machine") ]] || continue
    stop_machine "$machine" &
    pids+=($!)
  done
  for machine in "${pids[@]}"; do wait "$machine" || failed=1; done
  remove_network || failed=1
  restore_root_cgroup
  [[ ! -f $state_dir/made-var-lib-kubelet ]] || rmdir /var/lib/kubelet 2> /dev/null || true
  ((failed == 0)) || fail "not everything could be removed; $state_dir is kept so that 'lab down' can be run again"
  rm -rf "$state_dir"
  step "the lab is removed"
}

status() {
  local machine pid
  require_root status
  case $(lab_condition) in
    none)
      say "There is no lab. Bring one up with: make lab-up"
      return
      ;;
    broken) say "The lab is broken (half made, or left by a crash). Remove it with: make lab-down" ;;
    up) say "The lab is up. State: $state_dir" ;;
  esac
  for machine in "${machines[@]}"; do
    if pid=$(first_process_of "$machine"); then
      printf '  %-14s on   %s (pid %s, logs in %s/log)\n' "$machine" "${address[$machine]}" "$pid" "$(machine_dir "$machine")"
    else
      printf '  %-14s off\n' "$machine"
    fi
  done
  list_faults
  if is_running "$control_plane" && [[ -x $bin_dir/kubectl && -f $kubeconfig ]]; then
    kubectl get nodes --label-columns topology.kubernetes.io/zone --request-timeout=3s 2>&1 | sed 's/^/  /' || true
  fi
}

# The environment of `lab shell` and `lab exec`: the control plane's network, and tools that know the cluster.
cluster_environment() {
  [[ $(lab_condition) == up ]] || fail "the lab is not up (see 'lab status'); bring it up with: make lab-up"
  export KUBECONFIG=$kubeconfig PATH=$bin_dir:$lab_dir:$PATH ZAB_LAB_PATH=$bin_dir:$lab_dir
}

open_shell() {
  require_root shell
  cluster_environment
  say "A shell inside the lab's network: kubectl and helm know the cluster, and pods answer at their own addresses."
  say "'lab help' lists what can be done to the zones; 'exit' leaves."
  exec nsenter --net="$state_dir/net/$control_plane" -- \
    bash --rcfile "$lab_dir/lib/shell.bashrc"
}

run_in_cluster() { # COMMAND...
  require_root exec
  cluster_environment
  exec nsenter --net="$state_dir/net/$control_plane" -- "$@"
}
