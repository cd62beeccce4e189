# Each machine lives in a control group of its own, and sees that one as the root of everything: so three kubelets on
# one host do not meet, and what they use is still counted where the lab was started.
#
# With cgroup v1 that is one group per hierarchy, below the caller's own. With cgroup v2 it is one group, below the
# root that the caller sees: a group that has processes of its own, as a login's has, cannot have children with
# controllers.

cgroup_version() { [[ -f /sys/fs/cgroup/cgroup.controllers ]] && printf 2 || printf 1; }

make_cgroups() { # MACHINE: writes "CONTROLLERS FOLDER" lines to the machine's `cgroups` file, parents first
  : > "$(machine_dir "$1")/cgroups"
  if [[ $(cgroup_version) == 2 ]]; then
    make_unified_cgroup "$1"
  else
    make_legacy_cgroups "$1"
  fi
}

make_legacy_cgroups() {
  local controllers path parent folder count=0
  while IFS=: read -r _ controllers path; do
    controllers=${controllers#name=}
    [[ -n $controllers ]] || continue
    [[ -d /sys/fs/cgroup/$controllers ]] || continue
    parent=/sys/fs/cgroup/$controllers${path%/}
    [[ -d $parent ]] || parent=/sys/fs/cgroup/$controllers # in a container the path may be the host's, not ours
    printf '%s %s\n' "$controllers" "$parent/zab-lab/$1" >> "$(machine_dir "$1")/cgroups"
    for folder in "$parent/zab-lab" "$parent/zab-lab/$1"; do
      mkdir -p "$folder"
      if [[ -f $folder/cpuset.cpus ]]; then # a new cpuset is empty, and takes no process until it is filled
        cat "$parent/cpuset.cpus" > "$folder/cpuset.cpus"
        cat "$parent/cpuset.mems" > "$folder/cpuset.mems"
      fi
    done
    count=$((count + 1))
  done < /proc/self/cgroup
  ((count > 0)) || fail "found no cgroup hierarchy below /sys/fs/cgroup: mount cgroup v2 there (mount -t cgroup2 none /sys/fs/cgroup)"
}

# A machine's processes go to its `init` group (machine/launch.sh sees to it): a group with processes of its own cannot
# give controllers to children.
make_unified_cgroup() {
  local root=/sys/fs/cgroup
  printf 'unified %s\n' "$root/zab-lab/$1" >> "$(machine_dir "$1")/cgroups"
  give_controllers_to_children "$root"
  mkdir -p "$root/zab-lab"
  give_controllers_to_children "$root/zab-lab"
  mkdir -p "$root/zab-lab/$1/init"
}

give_controllers_to_children() { # FOLDER
  local controller controllers
  read -ra controllers < "$1/cgroup.controllers"
  for controller in "${controllers[@]}"; do
    has_word "$controller" "$1/cgroup.subtree_control" && continue
    if ! give_controller "$controller" "$1" && [[ -f $1/cgroup.type && $(wc -l < "$1/cgroup.procs") != 0 ]]; then
      # A container's root group is an ordinary group with processes: they move one level down, as in any container
      # that runs containers. `lab down` moves them back.
      move_processes_down "$1"
      give_controller "$controller" "$1" || true
    fi
  done
  # The kubelet refuses to start without these; others (io, hugetlb, misc) are welcome but not needed.
  for controller in cpu cpuset memory pids; do
    has_word "$controller" "$1/cgroup.subtree_control" ||
      fail "cgroup v2 does not give the '$controller' controller to $1's children. It offers: $(cat "$1/cgroup.controllers"). With systemd, set Delegate=yes for the unit that runs this."
  done
}

has_word() { [[ " $(tr '\n' ' ' < "$2") " == *" $1 "* ]]; }

give_controller() { # CONTROLLER FOLDER
  { printf '+%s' "$1" > "$2/cgroup.subtree_control"; } 2> /dev/null || return 1
  [[ $2 != /sys/fs/cgroup ]] || printf '%s\n' "$1" >> "$state_dir/given-controllers"
}

move_processes_down() { # FOLDER
  local process
  mkdir -p "$1/zab-lab-outside"
  while read -r process; do
    { printf '%s' "$process" > "$1/zab-lab-outside/cgroup.procs"; } 2> /dev/null || true # it may just have ended
  done < "$1/cgroup.procs"
}

# Undoes the moves of give_controllers_to_children. A controller that somebody else uses by now stays given.
restore_root_cgroup() {
  local root=/sys/fs/cgroup controller process
  [[ $(cgroup_version) == 2 ]] || return 0
  if [[ -f $state_dir/given-controllers ]]; then
    while read -r controller; do
      { printf -- '-%s' "$controller" > "$root/cgroup.subtree_control"; } 2> /dev/null || true
    done < "$state_dir/given-controllers"
  fi
  [[ -d $root/zab-lab-outside ]] || return 0
  while read -r process; do
    { printf '%s' "$process" > "$root/cgroup.procs"; } 2> /dev/null || true
  done < "$root/zab-lab-outside/cgroup.procs"
  rmdir "$root/zab-lab-outside" || warn "$root/zab-lab-outside still has processes; it stays"
}

remove_cgroups() { # MACHINE
  local list folder
  list=$(machine_dir "$1")/cgroups
  [[ -f $list ]] || return 0
  wait_until 10 "the control groups of $1 to become empty" remove_cgroup_folders "$list" || return 1
  while read -r _ folder; do
    rmdir "${folder%/*}" 2> /dev/null || true # the last machine takes the lab's own group with it
  done < "$list"
  rm "$list"
}

# Whatever still runs in there is ended: a machine that was never seen to start has no other trace.
remove_cgroup_folders() { # LIST
  local folder left=0
  while read -r _ folder; do
    [[ -d $folder ]] || continue
    find "$folder" -name cgroup.procs -exec cat {} + | sort -u | xargs --no-run-if-empty kill -9 2> /dev/null || true
    find "$folder" -depth -type d -exec rmdir {} + 2> /dev/null || true
    [[ ! -d $folder ]] || left=1
  done < "$1"
  [[ $left == 0 ]]
}
