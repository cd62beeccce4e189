#!/usr/bin/env bash
# init.sh MACHINE: the first process of a machine. It gives the machine its own view of the file system, starts the
# programs of its role, keeps them running, and says that it is there by writing its pid outside and its start time.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

machine=$1
directory=$(machine_dir "$machine")
# The old /proc is still mounted: it shows this process by its pid outside.
read -ra stat < /proc/self/stat
identity="${stat[0]} ${stat[21]}"

mount_cgroups() {
  local controllers controller
  # Not by looking at /sys/fs/cgroup: the machine's own /sys is empty there.
  if grep -q '^unified ' "$directory/cgroups"; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    return
  fi
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while read -r controllers _; do
    mkdir "/sys/fs/cgroup/$controllers"
    if [[ $controllers == systemd ]]; then
      mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    else
      mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers"
    fi
    for controller in ${controllers//,/ }; do # controllers that are mounted together are also found by each one's name
      [[ -e /sys/fs/cgroup/$controller ]] || ln -s "$controllers" "/sys/fs/cgroup/$controller"
    done
  done < "$directory/cgroups"
}

# The kubelet insists on these settings and ends when it can neither find nor make them. They belong to the whole host:
# the machine is shown a file with the wanted value, and the host keeps its own.
show_kernel_settings() {
  local setting
  mkdir /run/settings
  for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    printf '%s\n' "${setting#*=}" > "/run/settings/${setting##*/}"
    mount --bind "/run/settings/${setting##*/}" "/proc/sys/${setting%=*}"
  done
}

# What the programs of the machine write goes to the machine's folder in the lab's state, seen here as /run/lab.
show_folders() {
  mkdir -p /run/lock /run/netns /run/lab
  mount --bind "$directory" /run/lab
  mount -t tmpfs -o mode=755 tmpfs /var/log
  mkdir -p /run/lab/{etc,containerd,kubelet,pod-logs,volumes,cni} /var/log/{pods,containers}
  mount --bind /run/lab/pod-logs /var/log/pods
  if [[ $machine != "$control_plane" ]]; then
    mount --bind /run/lab/kubelet /var/lib/kubelet # a path that is fixed in the kubelet; `lab up` made the folder
  fi
  : > /run/lab/etc/resolv.conf # no name server outside of the lab
}

# keep_running NAME COMMAND...: in the background, its output in the log of that name.
keep_running() {
  local name=$1
  shift
  (
    while :; do
      "$@" >> "/run/lab/log/$name.log" 2>&1 || true
      printf -- '--- %s ended; it is started again in a second\n' "$name" >> "/run/lab/log/$name.log"
      sleep 1
    done
  ) &
}

hostname "$machine"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount_cgroups
mount -t tmpfs -o mode=755 tmpfs /run
show_kernel_settings
show_folders
mount --make-rshared /
cd /

if [[ $machine == "$control_plane" ]]; then
  . "$lab_dir/machine/control-plane.sh"
else
  . "$lab_dir/machine/node.sh"
fi
printf '%s\n' "$identity" > "$directory/pid"
while :; do
  wait -n || true
done
