# `lab prove`: what the lab promises, each promise tried on the running cluster. About a minute.

proved=0
disproved=0

check() { # SENTENCE COMMAND...
  local sentence=$1 started=$EPOCHREALTIME log=$log_dir/prove.log
  shift
  if ("$@") > "$log" 2>&1; then
    proved=$((proved + 1))
    printf 'ok    %5ss  %s\n' "$(seconds_since "$started")" "$sentence"
  else
    disproved=$((disproved + 1))
    printf 'FAIL  %5ss  %s\n' "$(seconds_since "$started")" "$sentence"
    tail -n 4 "$log" | sed 's/^/        /'
    cp "$log" "$log_dir/prove.failed.$disproved.log"
  fi
}

proof() { kubectl --namespace lab-prove --request-timeout=20s "$@"; }
inside() { # ZONE COMMAND...: in the zone's pod
  local zone=$1
  shift
  proof exec "probe-$zone-0" -- "$@"
}
contains() { # TEXT COMMAND...
  local text=$1 output
  shift
  output=$("$@") || return 1
  [[ $output == *"$text"* ]] || { printf 'no "%s" in: %s\n' "$text" "$output" && return 1; }
}
peer_url() { printf 'http://probe-%s-0.peers:8080/' "$1"; }
reaches() { contains "host=probe-$2-0" inside "$1" /probe get "$(peer_url "$2")"; }
cannot_reach() { ! reaches "$1" "$2"; }
node_ready_is() { contains "=$2=" kubectl get node "$1" -o 'jsonpath={range .status.conditions[?(@.type=="Ready")]}={.status}={end}'; }
pod_ready() { proof wait --for=condition=Ready "pod/probe-$1-0" --timeout=1s; }

deploy() {
  local zone
  kubectl apply -f "$lab_dir/prove/namespace.yaml" || return 1
  for zone in "${zones[@]}"; do sed "s/ZONE/$zone/" "$lab_dir/prove/zone.yaml" | kubectl apply -f - || return 1; done
  for zone in "${zones[@]}"; do proof rollout status "statefulset/probe-$zone" --timeout="$((60 * patience))s" || return 1; done
}
each_zone_has_its_node_and_pod() {
  local zone
  for zone in "${zones[@]}"; do
    contains "$zone" kubectl get node "$zone" -o 'jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}' &&
      contains "$zone" proof get pod "probe-$zone-0" -o 'jsonpath={.spec.nodeName}' || return 1
  done
}
pods_reach_each_other() {
  local from to
  for from in "${zones[@]}"; do
    for to in "${zones[@]}"; do reaches "$from" "$to" || return 1; done
  done
}
source_address_is_kept() {
  local own
  own=$(proof get pod probe-zone-a-0 -o 'jsonpath={.status.podIP}')
  contains "peer=$own" inside zone-a /probe get "$(peer_url zone-b)"
}
names_are_found() {
  local name
  for name in peers probe kubernetes.default probe-zone-c-0.peers.lab-prove.svc.cluster.local; do
    inside zone-b /probe lookup "$name" || return 1
  done
}
service_spreads() {
  local answers
  answers=$(for _ in {1..20}; do inside zone-a /probe get http://probe/ || true; done | sed 's/ .*//' | sort -u)
  printf '%s\n' "$answers"
  [[ $(wc -l <<< "$answers") -ge 2 ]]
}
write_volume() { inside "$1" sh -c 'echo kept > /data/value && sync'; }
volume_is_kept() { contains kept inside "$1" cat /data/value; }
pod_comes_back_with_its_volume() {
  proof delete pod probe-zone-a-0 && wait_until 30 "the pod to come back" pod_ready zone-a && volume_is_kept zone-a
}
api_answers() { contains "$2" inside zone-a /probe api GET "/api/v1/namespaces/lab-prove/$1"; }
rights_are_kept_apart() { api_answers pods 200 && api_answers secrets 403; }
eviction_is_refused() {
  local eviction='{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"probe-zone-b-0","namespace":"lab-prove"}}' answer
  answer=$(kubectl create --raw /api/v1/namespaces/lab-prove/pods/probe-zone-b-0/eviction -f - <<< "$eviction" 2>&1) && return 1
  printf '%s\n' "$answer"
  [[ $answer == *"disruption budget"* ]]
}
api_server_reaches_pods() { contains host=probe- kubectl get --raw /api/v1/namespaces/lab-prove/services/probe:http/proxy/; }
helm_installs() {
  in_network "$control_plane" env KUBECONFIG="$kubeconfig" "$bin_dir/helm" install prove "$lab_dir/prove/chart" -n lab-prove --wait --timeout 30s &&
    contains "$kubernetes_version" proof get configmap prove -o 'jsonpath={.data.kubernetes}' &&
    in_network "$control_plane" env KUBECONFIG="$kubeconfig" "$bin_dir/helm" uninstall prove -n lab-prove --wait
}
no_way_out() {
  local machine
  for machine in "${machines[@]}" fabric; do
    [[ -z $(in_network "$machine" ip route show default) ]] || return 1
    # Every link's other end is in a namespace of the lab: the fabric holds exactly one for each machine.
    [[ $machine == fabric || $(in_network "$machine" ip -o link show type veth | grep -c eth0) == 1 ]] || return 1
  done
  [[ $(fabric ip -o link show type veth | wc -l) == "${#machines[@]}" ]] && ! in_network zone-a ping -c 1 -W 1 192.0.2.1
}

# The ninth figure of the second "Icmp:" line: echo requests that came in.
pings_received() { in_network "$1" sed -n 's/^Icmp: \([0-9].*\)$/\1/p' /proc/net/snmp | tr ' ' '\n' | sed -n 9p; }
pings() { in_network "$1" ping -c 3 -i 0.2 -W 1 -q "${address[$2]}"; }
pair_is_cut() {
  fault cut zone-a zone-b
  cannot_reach zone-a zone-b && cannot_reach zone-b zone-a && pings zone-a control-plane && pings zone-b control-plane
}
one_way_is_blocked() {
  local before after
  fault block zone-a zone-b
  before=$(pings_received zone-a)
  ! pings zone-b zone-a || return 1
  after=$(pings_received zone-a)
  printf 'pings that reached zone-a: %s, of 3\n' $((after - before))
  ((after - before == 3)) || return 1
  before=$(pings_received zone-b)
  ! pings zone-a zone-b && [[ $(pings_received zone-b) == "$before" ]]
}
paths_are_healed() { fault heal zone-a && reaches zone-a zone-b && reaches zone-b zone-a; }

round_trip_line() { awk -F'[ /]' '/^rtt/ { printf "%d %d %d", $7, $8, $9 }'; }
round_trip_ms() { in_network zone-a ping -c 5 -i 0.01 -q "${address[zone-b]}" | round_trip_line; } # least, mean, most
slow_zone_is_slow() {
  local least most
  fault slow zone-b 50
  read -r least _ <<< "$(round_trip_ms)"
  fault heal zone-b
  read -r _ _ most <<< "$(round_trip_ms)"
  printf 'at least %s ms; healed, at most %s ms\n' "$least" "$most"
  ((least >= 98 && least <= 130 && most <= 20))
}
lossy_zone_loses() {
  local lost
  fault slow zone-b 0 0 300
  lost=$(in_network zone-a ping -c 200 -i 0.002 -W 1 -q "${address[zone-b]}" | sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p')
  fault heal zone-b
  printf 'lost %s %% of the pings and their answers; expected about 51\n' "$lost"
  ((${lost%.*} >= 35 && ${lost%.*} <= 67))
}
rate_is_limited() { # a burst of 140 kB of pings takes 0.6 s through 1 Mbit/s, after the first 64 kB
  local most
  fault rate zone-b 1mbit
  read -r _ _ most <<< "$(in_network zone-a ping -c 100 -l 100 -s 1400 -q "${address[zone-b]}" | round_trip_line)"
  fault heal zone-b
  printf 'the slowest took %s ms\n' "$most"
  ((most >= 300))
}

zone_is_lost() { # ZONE
  wait_until 30 "node $1 to be lost" node_ready_is "$1" Unknown
}
zone_is_back() { wait_until 40 "node $1 to be Ready" node_ready_is "$1" True && wait_until 60 "the pod of $1" pod_ready "$1"; }
cut_zone_is_alone() { cannot_reach zone-a zone-c && cannot_reach zone-b zone-c && reaches zone-a zone-b; }
healed_zone_is_back() { fault heal zone-c && zone_is_back zone-c && reaches zone-a zone-c; }
powered_zone_is_back() { fault power-on zone-a && zone_is_back zone-a && volume_is_kept zone-a; }
pods_go_on_without_control_plane() {
  local pod_address
  pod_address=$(proof get pod probe-zone-b-0 -o 'jsonpath={.status.podIP}')
  fault power-off "$control_plane"
  ! kubectl get --raw /readyz --request-timeout=1s &&
    printf 'GET / HTTP/1.0\r\n\r\n' | contains host=probe-zone-b-0 in_network zone-a busybox nc -w 3 "$pod_address" 8080
}
control_plane_is_back() {
  fault power-on "$control_plane" && wait_until 30 "the API server" kubectl get --raw /readyz &&
    wait_until 40 "all nodes Ready" cluster_is_ready
}

remove_proof() {
  [[ $(lab_condition) == up ]] || return 0
  heal > /dev/null 2>&1 || true
  kubectl delete namespace lab-prove --ignore-not-found --wait=false > /dev/null 2>&1 || true
}

prove() {
  require_root prove
  [[ $(lab_condition) == up ]] || fail "the lab is not up (see 'lab status'); bring it up with: make lab-up"
  [[ -z $(list_faults) ]] || fail "the lab has faults; end them first with: lab fault heal"
  rm -f "$log_dir"/prove*.log
  trap remove_proof EXIT
  prove_cluster
  prove_faults
  printf '%s passed, %s failed\n' "$proved" "$disproved"
  ((disproved == 0)) || fail "the output of each failed check: $log_dir/prove.failed.*.log"
}

prove_cluster() {
  check "one pod with a dynamic volume becomes Ready in each zone" deploy
  check "each zone has its own node, and its pod is there" each_zone_has_its_node_and_pod
  check "pods of all zones reach each other by name" pods_reach_each_other
  check "a connection between zones keeps its source address" source_address_is_kept
  check "DNS finds Services and single pods, by short and full names" names_are_found
  check "a Service's address spreads over its pods" service_spreads
  check "a pod writes to its volume" write_volume zone-a
  check "a deleted pod comes back with what its volume held" pod_comes_back_with_its_volume
  check "a pod's token reaches the API server, which allows and refuses by RBAC" rights_are_kept_apart
  check "a PodDisruptionBudget holds an eviction back" eviction_is_refused
  check "the API server reaches pods" api_server_reaches_pods
  check "helm installs and uninstalls a chart" helm_installs
  check "nothing leads out of the lab" no_way_out
}

prove_faults() {
  fault cut zone-c
  check "two zones cut from each other keep the control plane" pair_is_cut
  check "and are healed" paths_are_healed
  check "a path that is blocked one way carries the other way" one_way_is_blocked
  check "and is healed" paths_are_healed
  check "50 ms of delay each way are 100 ms of round trip, and gone when healed" slow_zone_is_slow
  check "300 permille of loss each way lose about half of the pings" lossy_zone_loses
  check "a rate limit makes packets wait" rate_is_limited
  check "the zone that was cut off is lost to the control plane" zone_is_lost zone-c
  check "it is reached by no other zone, and the others go on" cut_zone_is_alone
  check "healed, its node and pod are Ready again" healed_zone_is_back
  fault power-off zone-a
  check "a zone without power is lost to the control plane" zone_is_lost zone-a
  check "with power, its node and pod are Ready, and the volume is as it was" powered_zone_is_back
  check "pods go on without the control plane" pods_go_on_without_control_plane
  check "the control plane comes back with the cluster as it was" control_plane_is_back
}
