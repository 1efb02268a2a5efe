# Shared by the scripts of this directory; source it, do not run it.
# shellcheck shell=bash

set -euo pipefail
FUDA_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$FUDA_ROOT"

# RocksDB takes about 15 minutes of two cores to compile. One target directory outside the checkout lets every clone on
# a machine share it; a clean machine simply fills it. Set CARGO_TARGET_DIR to keep builds elsewhere.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/fuda/target}
BIN=$CARGO_TARGET_DIR/release

if [ -t 2 ]; then BOLD=$(printf '\033[1m') DIM=$(printf '\033[2m') OFF=$(printf '\033[0m'); else BOLD='' DIM='' OFF=''; fi

say() { printf '%s==>%s %s\n' "$BOLD" "$OFF" "$*" >&2; }
note() { printf '    %s%s%s\n' "$DIM" "$*" "$OFF" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# need COMMAND-OR-FILE PACKAGE...: installs Debian packages when the command is missing, saying so.
need() {
  local probe=$1
  shift
  if command -v "$probe" >/dev/null 2>&1 || compgen -G "$probe" >/dev/null; then return 0; fi
  command -v apt-get >/dev/null 2>&1 || die "$probe is missing and this is not Debian or Ubuntu: install the equivalent of: $*"
  say "installing with apt: $* (missing: $probe)"
  if [ -z "${APT_UPDATED:-}" ]; then
    as_root apt-get update -qq >&2
    APT_UPDATED=1
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# What compiling needs: a C++ compiler and libclang (RocksDB and its bindings).
need_build_tools() {
  command -v cargo >/dev/null 2>&1 || die "a Rust toolchain is needed (1.94 or newer): https://rustup.rs"
  need c++ g++
  need make make
  need '/usr/lib/llvm-*/lib/libclang*.so*' libclang-dev clang
}

# A browser and its driver, for the evidence `console`; it says that it was skipped where they cannot be had.
need_browser() {
  if ! command -v apt-get >/dev/null 2>&1; then return 0; fi
  need chromium chromium
  need chromedriver chromium-driver
  need '/usr/share/fonts/opentype/ipafont-gothic/*.ttf' fonts-ipafont-gothic
}

# build ARGS...: one profile for running and testing.
build() {
  need_build_tools
  if [ ! -d "$BIN" ]; then note "first build on this machine: RocksDB is compiled once, about 15 minutes on two cores"; fi
  cargo build --release --locked "$@" >&2
}
