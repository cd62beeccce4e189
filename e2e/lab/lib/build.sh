# Builds the lab's programs into the cache: Kubernetes from its Go modules, the lab's own tools, and the images.

pinned_version() { awk -v module="$1" '$1 == module { print $2; exit }' "$lab_dir/components/go.mod"; }
kubernetes_version=$(pinned_version k8s.io/kubernetes)
helm_version=$(pinned_version helm.sh/helm/v3)

# Without these the components call themselves v0.0.0, and charts that ask for the Kubernetes version are refused.
kubernetes_flags() {
  local package version=${kubernetes_version#v} flags="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$kubernetes_version -X $package.gitMajor=${version%%.*} -X $package.gitMinor=$(cut -d. -f2 <<< "$version")"
    flags+=" -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
    flags+=" -X $package.gitCommit=0000000000000000000000000000000000000000"
  done
  printf '%s' "$flags"
}
helm_flags() {
  local minor package
  minor=$(cut -d. -f2 <<< "$kubernetes_version")
  printf '%s' "-s -w -X helm.sh/helm/v3/internal/version.version=$helm_version"
  for package in helm.sh/helm/v3/pkg/lint/rules helm.sh/helm/v3/pkg/chartutil; do
    printf '%s' " -X $package.k8sVersionMajor=1 -X $package.k8sVersionMinor=$minor"
  done
}

# A cache folder is named by the hash of all that decides what is in it.
key_of() { # FILE-OR-FOLDER..., below the lab's folder: the sources, and what else is printed on the standard input
  {
    cat
    go env GOVERSION GOARCH
    (cd "$lab_dir" && find "$@" -type f -print0 | sort -z | xargs -0 sha256sum)
  } | short_hash
}
short_hash() { sha256sum | cut -c1-16; }
components_dir() { printf '%s/components-%s' "$cache_dir" "$({ kubernetes_flags; helm_flags; } | key_of components)"; }
tools_dir() { printf '%s/tools-%s' "$cache_dir" "$(key_of tools < /dev/null)"; }
base_images_dir() {
  local key
  key=$({ components_dir; tools_dir; declare -f build_base_images; cat /bin/busybox; } | short_hash)
  printf '%s/images-%s' "$cache_dir" "$key"
}

# Runs one long command with its output in a log, and says every 15 s that it is still at work, and at what.
with_progress() { # WHAT LOG COMMAND...
  local what=$1 log=$2 started=$EPOCHREALTIME pid next=$((SECONDS + 15))
  shift 2
  mkdir -p "$(dirname "$log")"
  "$@" > "$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2> /dev/null; do
    if ((SECONDS >= next)); then
      step "  $what: at work for $(seconds_since "$started") s$(last_line "$log")"
      next=$((SECONDS + 15))
    fi
    sleep 0.3
  done
  if ! wait "$pid"; then
    tail -n 15 "$log" >&2
    fail "$what failed (whole output: $log)"
  fi
  step "$what: $(seconds_since "$started") s"
}

last_line() { tail -n 1 "$1" | awk 'NF { $1 = $1; print " (" substr($0, 1, 60) ")" }'; }

go_build() { # FOLDER OUT LINKER_FLAGS PACKAGE
  (cd "$1" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "$3" -o "$2" "$4")
}

# Programs appear in the cache whole or not at all, so that a build that was interrupted is simply done again.
build_components() {
  local target partial program
  target=$(components_dir)
  if [[ -d $target ]]; then
    touch "$target"
    return
  fi
  step "building Kubernetes $kubernetes_version, etcd, CoreDNS, helm and the volume provisioner (once; 8 to 10 minutes on two cores)"
  partial=$target.partial
  rm -rf "$partial"
  mkdir -p "$partial"
  local modules=$lab_dir/components logs=$cache_dir/log
  with_progress "Go modules" "$logs/modules.log" go -C "$modules" mod download
  with_progress "kube" "$logs/kube.log" go_build "$modules" "$partial/kube" "$(kubernetes_flags)" ./kube
  with_progress "coredns" "$logs/coredns.log" go_build "$modules" "$partial/coredns" "-s -w" ./coredns
  with_progress "helm" "$logs/helm.log" go_build "$modules" "$partial/helm" "$(helm_flags)" helm.sh/helm/v3/cmd/helm
  with_progress "local-path-provisioner" "$logs/local-path-provisioner.log" \
    go_build "$modules" "$partial/local-path-provisioner" "-s -w" github.com/rancher/local-path-provisioner
  for program in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
    ln -s kube "$partial/$program"
  done
  mv "$partial" "$target"
}

build_tools() {
  local target partial tool
  target=$(tools_dir)
  if [[ -d $target ]]; then
    touch "$target"
    return
  fi
  partial=$target.partial
  rm -rf "$partial"
  mkdir -p "$partial"
  for tool in ociarchive probe; do
    with_progress "tool $tool" "$cache_dir/log/$tool.log" go_build "$lab_dir/tools" "$partial/$tool" "-s -w" "./$tool"
  done
  local compile=(gcc -O2 -D_GNU_SOURCE -Wall -Wextra -s)
  with_progress "tool pause" "$cache_dir/log/pause.log" "${compile[@]}" -static -o "$partial/pause" "$lab_dir/tools/pause/pause.c"
  with_progress "tool packetdelay" "$cache_dir/log/packetdelay.log" \
    "${compile[@]}" -o "$partial/packetdelay" "$lab_dir/tools/packetdelay/packetdelay.c" -lnetfilter_queue
  mv "$partial" "$target"
}

# The images that the nodes cannot be without. A node imports them before its kubelet starts.
build_base_images() {
  local target partial tools applet links=()
  target=$(base_images_dir)
  if [[ -d $target ]]; then
    touch "$target"
    return
  fi
  partial=$target.partial
  tools=$(tools_dir)
  rm -rf "$partial"
  mkdir -p "$partial"
  for applet in sh cat chmod cp echo env grep head id ip ls mkdir mv nc nslookup ps rm sleep sync tail touch wc wget; do
    links+=(--link "/bin/$applet=busybox")
  done
  "$tools/ociarchive" --output "$partial/pause.tar" --name lab.local/pause:1 --file "/pause=$tools/pause" --user 65535 --entrypoint /pause
  "$tools/ociarchive" --output "$partial/coredns.tar" --name lab.local/coredns:1 --file "/coredns=$(components_dir)/coredns" --entrypoint /coredns
  "$tools/ociarchive" --output "$partial/probe.tar" --name lab.local/probe:1 --file "/probe=$tools/probe" \
    --file /bin/busybox=/bin/busybox "${links[@]}" --entrypoint /probe
  mv "$partial" "$target"
  step "base images packed"
}

build_all() {
  require_toolchain go "Install Go 1.25 or later from go.dev or your distribution."
  mkdir -p "$cache_dir"
  build_components
  build_tools
  build_base_images
  # Pins that no clone has used for a month make room.
  find "$cache_dir" -maxdepth 1 -type d \( -name 'components-*' -o -name 'tools-*' -o -name 'images-*' \) -mtime +30 -exec rm -rf {} +
  step "programs: all built ($cache_dir)"
}
