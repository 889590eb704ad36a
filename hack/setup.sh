#!/usr/bin/env bash
# Installs what building rkv needs and this machine lacks. Prints one line per action, nothing when
# nothing is to do, and may be run again at any time. Usage: hack/setup.sh [--guests | --metrics | --bench]
# --guests installs only what hack/guests.sh needs besides, for state machines in C and Python.
# --metrics installs only what the tests of metrics need besides: Prometheus, not running.
# --bench installs only what hack/bench.sh needs besides: the load generator and etcd.
set -euo pipefail

readonly MIN_RUST=1.95
readonly TARGET=wasm32-unknown-unknown
# Debian's compiler with the source of its standard library: host/build.rs knows how to use it.
readonly DEBIAN_RUSTC=/usr/bin/rustc
readonly DEBIAN_LIBRARY=/usr/lib/rustlib/src/rust/library/Cargo.lock
readonly DEBIAN_LINKER=/usr/bin/rust-lld
# What says, on Debian, whether an installation may start services.
readonly SERVICE_POLICY=/usr/sbin/policy-rc.d

say() { printf 'setup: %s\n' "$*"; }

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

has() { command -v "$1" >/dev/null 2>&1; }

# version_at_least WANTED FOUND
version_at_least() {
  [[ "$(printf '%s\n%s\n' "$1" "$2" | sort --version-sort | head -n 1)" == "$1" ]]
}

# apt_install WHAT_FOR PACKAGE...
apt_install() {
  local what=$1 log
  shift
  has apt-get || fail "$what: there is no apt-get here; install the equivalent of: $*"
  local -a apt=(env DEBIAN_FRONTEND=noninteractive apt-get --quiet)
  if [[ $EUID -ne 0 ]]; then
    has sudo || fail "$what: needs root; run as root: apt-get install $*"
    apt=(sudo "${apt[@]}")
  fi
  say "$what: installing $*"
  log=$(mktemp)
  # A machine's package lists may be too old to find the packages, so they are fetched first.
  if ! { "${apt[@]}" update && "${apt[@]}" install --yes --no-install-recommends "$@"; } \
    >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "$what: apt-get could not install $* (whole output: $log)"
  fi
  rm -f "$log"
}

check_cargo() {
  local remedy="install Rust $MIN_RUST or newer from https://rustup.rs"
  if ! has cargo || ! has rustc; then
    fail "cargo is missing: $remedy"
  fi
  local found
  found=$(cargo --version | cut -d ' ' -f 2) || fail "cargo does not run: $remedy"
  version_at_least "$MIN_RUST" "$found" || fail "cargo $found is too old: $remedy"
}

install_tools() {
  local -a packages=()
  has cc || packages+=(gcc libc6-dev)
  has curl || packages+=(curl ca-certificates)
  [[ ${#packages[@]} -eq 0 ]] || apt_install "C linker and curl" "${packages[@]}"
}

target_installed() {
  [[ -d "$(rustc --print sysroot)/lib/rustlib/$TARGET/lib" ]]
}

debian_installed() {
  [[ -x $DEBIAN_RUSTC && -f $DEBIAN_LIBRARY ]] && linker_installed &&
    version_at_least "$MIN_RUST" "$("$DEBIAN_RUSTC" --version | cut -d ' ' -f 2)"
}

# Debian's compiler has no linker of its own: that of rustup's toolchain does.
linker_installed() {
  local host
  host=$(rustc --version --verbose | sed -n 's/^host: //p')
  [[ -x "$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld" || -x $DEBIAN_LINKER ]]
}

install_target() {
  if target_installed || debian_installed; then
    return
  fi
  if has rustup; then
    say "target $TARGET: rustup target add"
    if rustup --quiet target add "$TARGET" >/dev/null 2>&1 && target_installed; then
      return
    fi
    say "target $TARGET: rustup could not add it, trying Debian's packages"
  fi
  local -a packages=(rustc-web rust-web-src)
  linker_installed || packages+=(rust-web-llvm)
  apt_install "target $TARGET" "${packages[@]}"
  debian_installed || fail "target $TARGET: Debian's rustc-web is older than $MIN_RUST; add" \
    "the target to your toolchain, or set RKV_BUNDLED_FSM to a built component"
}

install_python() {
  if ! has python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install "Python with its module venv" python3 python3-venv
  fi
}

install_metrics() {
  if has prometheus && has promtool; then
    return
  fi
  [[ $EUID -eq 0 ]] || has sudo || fail "Prometheus: needs root; run as root: hack/setup.sh --metrics"
  # Debian starts it at once and at every boot, on a port that may be in use. Only the programs are wanted.
  if [[ ! -e $SERVICE_POLICY ]]; then
    trap 'as_root rm -f "$SERVICE_POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$SERVICE_POLICY" >/dev/null
    as_root chmod 755 "$SERVICE_POLICY"
  fi
  apt_install "Prometheus" prometheus
  if [[ -d /run/systemd/system ]]; then
    as_root systemctl --quiet disable prometheus
  fi
}

install_bench() {
  local -a packages=()
  has wrk || packages+=(wrk)
  has etcd || packages+=(etcd-server)
  [[ ${#packages[@]} -eq 0 ]] || apt_install "load generator and etcd" "${packages[@]}"
}

case "$*" in
'')
  check_cargo
  install_tools
  install_target
  ;;
--guests) install_python ;;
--metrics) install_metrics ;;
--bench) install_bench ;;
*)
  echo "usage: hack/setup.sh [--guests | --metrics | --bench]" >&2
  exit 2
  ;;
esac
