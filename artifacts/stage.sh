#!/usr/bin/env bash
# Builds the component and lays it out in greengrass-build/, where `gdk component publish`,
# `greengrass-cli` and `ggl-cli` take it from (docs/greengrass.md): `artifacts/stage.sh
# [aarch64|armv7|amd64]...`, all three by default, as a publication needs them. Beside each binary is
# the bill of materials of what is linked into it, and SHA256SUMS has the sums of all these files.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- aarch64 armv7 amd64
artifacts/build.sh "$@"

component=com.offboard.Agent
version=$(artifacts/version)
recipe=recipe/$component-$version.yaml
stage=greengrass-build
rm -rf "$stage"
mkdir -p "$stage/recipes" "$stage/artifacts/$component/$version"
to=$stage/artifacts/$component/$version
for name in "$@"; do
  case $name in
    aarch64) triple=aarch64-unknown-linux-gnu ;;
    armv7) triple=armv7-unknown-linux-gnueabihf ;;
    amd64) triple=x86_64-unknown-linux-gnu ;;
  esac
  cp "target/artifacts/offboard-$name" "$to/"
  cp "$(artifacts/sbom "$triple")" "$to/offboard-$name.cdx.json"
done
{
  # With which compiler and linker the binaries were built.
  head -1 target/artifacts/SHA256SUMS
  (cd "$to" && sha256sum offboard-*)
} >"$to/SHA256SUMS"
# The one name is for `gdk component publish`, the other for nucleus lite.
cp "$recipe" "$stage/recipes/recipe.yaml"
cp "$recipe" "$stage/recipes/$component-$version.yaml"
find "$stage" -type f | sort
