# The programs of the host that the lab needs, and the Debian packages that carry them.

# A program that is there already is taken as it is, whatever package it came from: a host with another container
# engine has its own containerd, and Debian's package would push it out.
declare -A package_of=(
  [containerd]=containerd [ctr]=containerd [runc]=runc [nft]=nftables [iptables]=iptables [ip]=iproute2 [tc]=iproute2
  [ping]=iputils-ping [openssl]=openssl [gcc]=gcc [strip]=binutils [nsenter]=util-linux [unshare]=util-linux [flock]=util-linux
)
cni_directories=(/usr/lib/cni /opt/cni/bin /usr/libexec/cni)

cni_directory() {
  local directory
  for directory in "${cni_directories[@]}"; do
    [[ -x $directory/bridge && -x $directory/host-local && -x $directory/portmap ]] && printf '%s' "$directory" && return
  done
  return 1
}

# A static busybox gives the helper pods their shell. `ldd` fails on a static program.
busybox_is_static() { [[ -x /bin/busybox ]] && ! ldd /bin/busybox > /dev/null 2>&1; }

# compiles HEADER OPTION...: can a C program that includes the header be built?
compiles() {
  local header=$1
  shift
  printf '#include <stdint.h>\n#include <%s>\nint main(void) { return 0; }\n' "$header" | gcc -x c -o /dev/null - "$@" 2> /dev/null
}

missing_packages() {
  local program
  {
    for program in "${!package_of[@]}"; do
      command -v "$program" > /dev/null || printf '%s\n' "${package_of[$program]}"
    done
    cni_directory > /dev/null || printf 'containernetworking-plugins\n'
    busybox_is_static || printf 'busybox-static\n'
    compiles signal.h -static || printf 'libc6-dev\n'
    compiles libnetfilter_queue/libnetfilter_queue.h -lnetfilter_queue || printf 'libnetfilter-queue-dev\nlibmnl-dev\n'
  } | sort -u
}

require_root() {
  [[ $(id -u) == 0 ]] || fail "'lab $1' needs root: it makes namespaces, mounts and cgroups. Run it as root (sudo -E keeps your Go and Rust on the PATH)."
}

require_toolchain() { # PROGRAM WHERE: Go and Rust are the user's own and never installed from here
  command -v "$1" > /dev/null || fail "'$1' is not on the PATH. $2"
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  require_toolchain go "Install Go 1.25 or later from go.dev or your distribution, and make sure that root finds it."
  command -v cargo > /dev/null ||
    warn "'cargo' is not on the PATH: 'lab images' will need it. Install Rust 1.95 or later with rustup."
  if ((${#missing[@]} == 0)); then
    step "packages: all there"
    return
  fi
  command -v apt-get > /dev/null ||
    fail "this host has no apt-get. Install what these Debian packages carry by your system's own means: ${missing[*]}"
  require_root packages
  step "packages: installing ${missing[*]}"
  local log=$cache_dir/packages.log
  mkdir -p "$cache_dir"
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get could not install: ${missing[*]} (whole output: $log)"
  fi
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) || fail "still missing after apt-get: ${missing[*]} (its output: $log)"
  step "packages: installed"
}
