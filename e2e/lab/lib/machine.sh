# A machine is one set of namespaces (network, mount, pid, host name, ipc, control group) with a shell script as its
# first process. The end of that process ends all of the machine's processes and mounts: that is both a clean removal
# and a loss of power.

# A process is known by its pid and the time it started: pids come again, above all after the host itself started anew.
start_time_of() { # PID
  local line fields
  read -r line < "/proc/$1/stat" || return 1
  read -ra fields <<< "${line##*) }" # the name before the parenthesis may hold blanks
  printf '%s' "${fields[19]}"
}

first_process_of() { # MACHINE: its pid, or nothing when it does not run
  local pid started
  read -r pid started 2> /dev/null < "$(machine_dir "$1")/pid" || return 1
  [[ -d /proc/$pid && $(start_time_of "$pid" 2> /dev/null) == "$started" ]] || return 1
  printf '%s' "$pid"
}
is_running() { first_process_of "$1" > /dev/null; }

# What outlives a command must take none of its descriptors along: a lock that the caller holds would else be held for
# as long as the lab is up.
close_descriptors() {
  local descriptor
  for descriptor in /proc/self/fd/*; do
    descriptor=${descriptor##*/}
    ((descriptor <= 2)) || eval "exec $descriptor>&-"
  done
}

# A started machine has all of its programs at work, but nobody has waited for them yet.
start_machine() { # MACHINE
  local directory launcher
  directory=$(machine_dir "$1")
  mkdir -p "$directory/log"
  rm -f "$directory/pid"
  make_cgroups "$1"
  (
    close_descriptors
    exec setsid "$lab_dir/machine/launch.sh" "$1"
  ) < /dev/null > "$directory/log/init.log" 2>&1 &
  launcher=$!
  if ! wait_until 20 "$1 to start" test -s "$directory/pid"; then
    kill -9 "$launcher" 2> /dev/null || true
    tail -n 10 "$directory/log/init.log" >&2
    fail "$1 did not start; see $directory/log/init.log"
  fi
  disown "$launcher" 2> /dev/null || true
}

stop_machine() { # MACHINE: at once, as if its plug were pulled
  local pid
  if pid=$(first_process_of "$1"); then
    kill -9 "$pid"
    wait_until 20 "the processes of $1 to end" process_is_gone "$pid" || return 1
  fi
  rm -f "$(machine_dir "$1")/pid"
  remove_cgroups "$1"
}
process_is_gone() { [[ ! -d /proc/$1 ]]; }

# Runs a command inside a machine, among its own processes and mounts.
in_machine() { # MACHINE COMMAND...
  local pid
  pid=$(first_process_of "$1") || fail "$1 does not run (see 'lab status')"
  shift
  nsenter --target "$pid" --mount --pid --uts --ipc --net --cgroup --wd=/ -- "$@"
}
