#!/usr/bin/env bash
# Builds the binaries for gateways: `artifacts/build.sh [aarch64|armv7|amd64]...`, all three by
# default, stripped, as target/artifacts/offboard-<name>. They need glibc 2.17 or later and nothing
# else: Debian 11 has 2.31, Amazon Linux 2 has 2.26.
#
# The same commit, compiler and linker give the same bytes in every directory, with every user's
# cargo home (artifacts/reproduce). target/artifacts/SHA256SUMS has the sums of all binaries there,
# and the version of the compiler.
#
# Needs python3 and Rust. With rustup the standard library for a target is fetched; without it, or
# where RUSTC says which compiler to take (RUSTC=/usr/bin/rustc), it has to be there, as Debian's
# multiarch packages bring it.
set -euo pipefail
cd "$(dirname "$0")/.."

glibc=2.17
# Bytes: gateways are ARM, and code for amd64 takes a seventh more.
most() { if [ "$1" = amd64 ]; then echo $((10 << 20)); else echo $((8 << 20)); fi; }
out=target/artifacts
zig=target/tools/zig

# No path of this machine is in a binary. The last prefix that fits counts, so the order matters
# where the target directory or cargo's home are inside another of these directories.
compiler=${RUSTC:-rustc}
remap() { printf ' --remap-path-prefix=%s=%s' "$1" "$2"; }
flags() {
  remap "$PWD" /offboard
  remap "$(realpath -m "${CARGO_TARGET_DIR:-target}")" /offboard/target
  remap "${CARGO_HOME:-$HOME/.cargo}" /cargo
  remap "$("$compiler" --print sysroot)/lib/rustlib/src/rust" \
    "/rustc/$("$compiler" -vV | sed -n 's/^commit-hash: //p')"
}

fail() { printf '%s\n' "$@" >&2; exit 1; }

# Rust's name of a gateway's architecture, and what Debian calls it.
triple() {
  case $1 in
    aarch64) echo aarch64-unknown-linux-gnu arm64 ;;
    armv7) echo armv7-unknown-linux-gnueabihf armhf ;;
    amd64) echo x86_64-unknown-linux-gnu amd64 ;;
    *) fail "no such target: $1; there are aarch64, armv7 and amd64" ;;
  esac
}

# Taking zig for the linker gives one way for all targets, and a glibc older than the one that this
# machine has.
install_zig() {
  if [ -e "$zig/made" ] && [ ! artifacts/requirements.txt -nt "$zig/made" ]; then return; fi
  python3 -c 'import ensurepip, venv' 2>/dev/null || fail 'python3 has no venv: apt-get install python3-venv'
  python3 -m venv --clear "$zig"
  "$zig/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r artifacts/requirements.txt
  touch "$zig/made"
}

need_std() {
  local target=$1 debian=$2 libs
  libs=$("${RUSTC:-rustc}" --print target-libdir --target "$target")
  if compgen -G "$libs/libstd-*.rlib" >/dev/null; then return; fi
  if [ -z "${RUSTC-}" ] && command -v rustup >/dev/null; then
    rustup target add "$target" || fail "Rust's standard library for $target cannot be had by rustup"
    return
  fi
  fail "${RUSTC:-rustc} has no standard library for $target. Either install rustup, or Debian's package:" \
    "  dpkg --add-architecture $debian && apt-get update && apt-get install libstd-rust-web-dev:$debian" \
    "(where Debian has none for $debian of the compiler's version, rustup is the way)"
}

build() {
  local name=$1 target debian binary floor size
  read -r target debian <<<"$(triple "$name")"
  need_std "$target" "$debian"
  binary=$out/offboard-$name
  # A linker that the environment names would silently take zig's place, and its glibc the old
  # one's.
  env -u "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER" PATH="$PWD/$zig/bin:$PATH" \
    RUSTFLAGS="$(flags)" cargo-zigbuild zigbuild --release --locked -p offboard --target "$target.$glibc"
  cp "${CARGO_TARGET_DIR:-target}/$target/release/offboard" "$binary"

  floor=$(grep -aoE 'GLIBC_[0-9]+\.[0-9.]+' "$binary" | sort -Vu | tail -1)
  floor=${floor#GLIBC_}
  [ "$(printf '%s\n' "$floor" "$glibc" | sort -V | tail -1)" = "$glibc" ] ||
    fail "$binary asks for glibc $floor: gateways with an older one than that could not start it; $glibc was wanted"
  size=$(stat -c %s "$binary")
  [ "$size" -le "$(most "$name")" ] || fail "$binary has $size bytes; at most $(most "$name") were wanted"
  printf '%-8s %9d bytes, glibc %s or later  %s\n' "$name" "$size" "$floor" "$binary"
}

[ $# -gt 0 ] || set -- aarch64 armv7 amd64
for name in "$@"; do triple "$name" >/dev/null; done
install_zig
mkdir -p "$out"
for name in "$@"; do build "$name"; done
# `sha256sum -c` passes over the first line.
{
  echo "# $("$compiler" -V), $("$zig/bin/cargo-zigbuild" --version), zig $("$zig/bin/python-zig" version)"
  (cd "$out" && sha256sum offboard-*)
} >"$out/SHA256SUMS"
