# Faults of zones, links and machines. Each one is remembered as a file, so that `heal` and `status` know it, and so
# that a machine that is off on purpose is told from one that crashed.
#
#   link.ZONE             the zone's link is down
#   cut.FROM.TO           packets from one zone to another are dropped
#   slow.ZONE             the zone's packets are delayed, by one .packetdelay.ZONE.DIRECTION process each way
#   rate.ZONE             the zone's rate limit
#   power-off.MACHINE     the machine was stopped

zone_argument() { is_zone "${1:-}" || fail "'${1:-}' is no zone; expected one of: ${zones[*]}"; }
machine_argument() { is_machine "${1:-}" || fail "'${1:-}' is no machine; expected one of: ${machines[*]}"; }
number_argument() { # NAME VALUE MAX
  { [[ $2 =~ ^[0-9]{1,9}$ ]] && ((10#$2 <= $3)); } || fail "$1 is '$2'; expected a whole number from 0 to $3"
}

fault() {
  local kind=${1:-}
  [[ -n $kind ]] || fail "which fault? See 'lab help'"
  shift
  require_root "fault $kind"
  [[ $kind == list ]] || [[ $(lab_condition) == up ]] || fail "the lab is not up (see 'lab status')"
  case $kind in
    cut) cut_zone "$@" ;;
    block) block_path "$@" ;;
    slow) slow "$@" ;;
    rate) limit_rate "$@" ;;
    power-off) power_off "$@" ;;
    power-on) power_on "$@" ;;
    heal) heal "$@" ;;
    list) list_faults ;;
    *) fail "no fault is called '$kind'; expected cut, block, slow, rate, power-off, power-on, heal or list" ;;
  esac
}

# cut ZONE: from everything, as if its uplink were pulled. cut ZONE ZONE: from each other, and nothing else.
cut_zone() {
  zone_argument "${1:-}"
  if (($# == 1)); then
    fabric ip link set "$1" down
    : > "$faults_dir/link.$1"
  else
    block_path "$1" "$2"
    block_path "$2" "$1"
  fi
}

block_path() { # FROM TO
  zone_argument "${1:-}"
  zone_argument "${2:-}"
  [[ $1 != "$2" ]] || fail "a zone cannot be cut from itself: $1"
  : > "$faults_dir/cut.$1.$2"
  write_cuts
}

# The rules are always written as a whole, from the files: nothing is left of an older set.
write_cuts() {
  local file pair
  {
    printf 'table bridge cuts {}\ndelete table bridge cuts\n'
    printf 'table bridge cuts {\n chain forward {\n  type filter hook forward priority 0;\n'
    for file in "$faults_dir"/cut.*.*; do
      [[ -e $file ]] || continue
      pair=${file##*/cut.}
      # Address resolution passes: it would take the other way down too.
      printf '  ether type ip iifname "%s" oifname "%s" drop;\n' "${pair%%.*}" "${pair##*.}"
    done
    printf ' }\n}\n'
  } | fabric nft -f -
}

# The packets of a slow zone wait in two netfilter queues of the fabric, one for each way, each held by a packetdelay.
# In the fabric and not in the zone, which tracks connections: there the first packets of a connection, when they wait
# together, are taken for rivals and all but one are dropped. The ways are queued at two places, so that a packet between
# two slow zones is delayed by both. `bypass`: a queue that nobody holds lets everything pass.
queue_rule() { # ZONE DIRECTION: in or out, as the fabric sees it
  case $2 in
    in) printf 'PREROUTING --match physdev --physdev-in %s' "$1" ;;
    out) printf 'FORWARD --match physdev --physdev-out %s' "$1" ;;
  esac
  printf ' --jump NFQUEUE --queue-bypass --queue-num %s' "$(queue_number "$1" "$2")"
}
queue_number() { # ZONE DIRECTION
  local number=1 zone direction
  for zone in "${zones[@]}"; do
    for direction in in out; do
      [[ $zone.$direction != "$1.$2" ]] || printf '%s' "$number"
      number=$((number + 1))
    done
  done
}

slow() { # ZONE DELAY_MS [JITTER_MS [LOSS_PERMILLE]]
  local zone=${1:-} delay_ms=${2:-} jitter_ms=${3:-0} loss_permille=${4:-0} direction log rule
  zone_argument "$zone"
  number_argument DELAY_MS "$delay_ms" 60000
  number_argument JITTER_MS "$jitter_ms" "$delay_ms"
  number_argument LOSS_PERMILLE "$loss_permille" 1000
  stop_packet_delays "$zone"
  printf '%s ms delay, %s ms jitter, %s permille loss each way\n' "$delay_ms" "$jitter_ms" "$loss_permille" > "$faults_dir/slow.$zone"
  for direction in in out; do
    log=$log_dir/packetdelay.$zone.$direction.log
    (
      close_descriptors
      exec setsid nsenter --net="$state_dir/net/fabric" -- \
        "$state_dir/tools/packetdelay" "$(queue_number "$zone" "$direction")" "$delay_ms" "$jitter_ms" "$loss_permille"
    ) < /dev/null > "$log" 2>&1 &
    printf '%s %s\n' $! "$(start_time_of $!)" > "$faults_dir/.packetdelay.$zone.$direction"
    if ! wait_until 5 "the packet delay of $zone" grep -x ready "$log"; then
      stop_packet_delays "$zone"
      fail "$(tail -n 1 "$log") (see $log)"
    fi
    read -ra rule <<< "$(queue_rule "$zone" "$direction")"
    fabric iptables --wait --table mangle --append "${rule[@]}"
  done
  set_kernel_parameter fabric bridge/bridge-nf-call-iptables 1
}

# All of them first lose their packets and are told to end, and are then waited for: each takes two seconds to end.
stop_packet_delays() { # ZONE...
  local zone direction rule file pid started ending=()
  for zone in "$@"; do
    [[ -f $faults_dir/slow.$zone ]] || continue
    for direction in in out; do
      read -ra rule <<< "$(queue_rule "$zone" "$direction")"
      fabric iptables --wait --table mangle --delete "${rule[@]}" 2> /dev/null || true # half made, it may not be there
      file=$faults_dir/.packetdelay.$zone.$direction
      [[ -f $file ]] || continue
      read -r pid started < "$file"
      if [[ $(start_time_of "$pid" 2> /dev/null) == "$started" ]]; then
        kill "$pid"
        ending+=("$pid")
      fi
      rm "$file"
    done
    rm "$faults_dir/slow.$zone"
  done
  for pid in "${ending[@]}"; do
    wait_until 10 "packetdelay $pid to end" process_is_gone "$pid" || kill -9 "$pid"
  done
}

limit_rate() { # ZONE RATE: both ways
  local zone=${1:-} rate=${2:-}
  zone_argument "$zone"
  [[ $rate =~ ^[0-9]+[kmg]bit$ ]] || fail "RATE is '$rate'; expected a number with kbit, mbit or gbit, such as 10mbit"
  local bucket=(root tbf rate "$rate" burst 64kb latency 400ms)
  fabric tc qdisc replace dev "$zone" "${bucket[@]}"
  in_network "$zone" tc qdisc replace dev eth0 "${bucket[@]}"
  printf '%s\n' "$rate" > "$faults_dir/rate.$zone"
}

power_off() { # MACHINE
  machine_argument "${1:-}"
  : > "$faults_dir/power-off.$1"
  stop_machine "$1" || fail "$1 is not wholly stopped"
}

power_on() { # MACHINE
  machine_argument "${1:-}"
  is_running "$1" || start_machine "$1"
  rm -f "$faults_dir/power-off.$1"
}

heal() { # [ZONE]: without a zone, everything
  local wanted=("$@") file zone machine
  ((${#wanted[@]} > 0)) || wanted=("${machines[@]}")
  for machine in "${wanted[@]}"; do machine_argument "$machine"; done
  stop_packet_delays "${wanted[@]}"
  for machine in "${wanted[@]}"; do
    power_on "$machine"
    is_zone "$machine" || continue
    zone=$machine
    fabric ip link set "$zone" up
    fabric tc qdisc del dev "$zone" root 2> /dev/null || true # there may be none
    in_network "$zone" tc qdisc del dev eth0 root 2> /dev/null || true
    rm -f "$faults_dir"/{link,rate}."$zone" "$faults_dir/cut.$zone".* "$faults_dir"/cut.*."$zone"
  done
  write_cuts
}

list_faults() {
  local file name
  for file in "$faults_dir"/*; do
    [[ -f $file ]] || continue
    name=${file##*/}
    case $name in
      link.*) say "  fault: ${name#link.} is cut off" ;;
      cut.*)
        name=${name#cut.}
        say "  fault: nothing passes from ${name%%.*} to ${name##*.}"
        ;;
      slow.*) say "  fault: ${name#slow.} is slow: $(cat "$file")" ;;
      rate.*) say "  fault: ${name#rate.} is limited to $(cat "$file")" ;;
      power-off.*) say "  fault: ${name#power-off.} is powered off" ;;
    esac
  done
}
