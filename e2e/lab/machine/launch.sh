#!/usr/bin/env bash
# launch.sh MACHINE: joins the machine's control groups, enters its namespaces, and runs its first process.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$lab_dir/lib/cgroups.sh"

machine=$1
list=$(machine_dir "$machine")/cgroups

# The groups that a process is in when it makes its cgroup namespace become the roots of that namespace.
if [[ -z ${LAB_CGROUP_NAMESPACE:-} ]]; then
  while read -r _ folder; do
    echo $$ > "$folder/cgroup.procs"
  done < "$list"
  export LAB_CGROUP_NAMESPACE=made
  exec unshare --cgroup -- "${BASH_SOURCE[0]}" "$machine"
fi

if [[ $(cgroup_version) == 2 ]]; then
  read -r _ folder < "$list"
  echo $$ > "$folder/init/cgroup.procs"
  give_controllers_to_children "$folder"
fi

unset LAB_CGROUP_NAMESPACE
exec nsenter --net="$state_dir/net/$machine" -- \
  unshare --mount --propagation private --pid --uts --ipc --fork -- "$lab_dir/machine/init.sh" "$machine"
