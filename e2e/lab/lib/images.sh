# The product's images, and images in general: packed without a registry, imported into the nodes' containerd.

image_tag=dev
# Image, package of the workspace, program.
product_images=("zab-server zab-server zab-server" "zab-operator zab-operator zab-operator" "zab-workload zab-e2e zab-workload")

# Static programs: their images hold nothing else. The C library that Rust links by default can be linked in.
build_product_images() {
  local target_dir=${CARGO_TARGET_DIR:-$cache_dir/target} triple image package program archive stripped packages=()
  triple=$(uname -m)-unknown-linux-gnu
  require_toolchain cargo "Install Rust 1.95 or later with rustup."
  build_all
  for image in "${product_images[@]}"; do
    read -r _ package _ <<< "$image"
    packages+=(--package "$package")
  done
  with_progress "cargo build of zab-server and zab-operator" "$cache_dir/log/cargo.log" \
    env -C "$repository_dir" CARGO_TARGET_DIR="$target_dir" RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --release --target "$triple" "${packages[@]}"
  mkdir -p "$cache_dir/product-images"
  for image in "${product_images[@]}"; do
    read -r image _ program <<< "$image"
    archive=$cache_dir/product-images/$image.tar
    stripped=$cache_dir/product-images/$program
    # Without the tables of line numbers, which are most of the file; the names stay, for a panic's backtrace.
    strip --strip-debug -o "$stripped" "$target_dir/$triple/release/$program"
    "$(tools_dir)/ociarchive" --output "$archive" --name "lab.local/$image:$image_tag" \
      --file "/$program=$stripped" --user 65532 --entrypoint "/$program"
    rm "$stripped"
    step "packed lab.local/$image:$image_tag ($archive)"
  done
  [[ $(lab_condition) == up ]] || return 0
  import_images "$cache_dir"/product-images/*.tar
}

import_images() { # FILE...: into every node that is on
  local zone file log=$log_dir/import.log pids=() failed=0
  (($# > 0)) || fail "which image archives? Expected: lab image import FILE..."
  for file in "$@"; do [[ -r $file ]] || fail "cannot read the image archive $file"; done
  require_root "image import"
  [[ $(lab_condition) == up ]] || fail "the lab is not up (see 'lab status')"
  for zone in "${zones[@]}"; do
    is_running "$zone" || { warn "$zone is off: it does not get the images" && continue; }
    import_into "$zone" "$@" > "$log.$zone" 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  if ((failed != 0)); then
    tail -n 3 "$log".* >&2
    fail "a node did not take the images; see $log.ZONE"
  fi
  step "imported into ${#pids[@]} nodes: ${*##*/}"
}
import_into() { # ZONE FILE...: through the standard input, since a machine does not see all of the host's folders
  local zone=$1 file
  shift
  for file in "$@"; do in_machine "$zone" ctr --namespace k8s.io images import - < "$file"; done
}

image_command() {
  local what=${1:-}
  shift || true
  case $what in
    import) import_images "$@" ;;
    pack)
      build_all > /dev/null
      exec "$(tools_dir)/ociarchive" "$@"
      ;;
    list) in_machine "${1:-${zones[0]}}" ctr --namespace k8s.io images list ;;
    *) fail "no image command is called '$what'; expected import, pack or list" ;;
  esac
}
