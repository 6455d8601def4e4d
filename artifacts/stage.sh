#!/usr/bin/env bash
# Builds the component and lays it out in greengrass-build/, where `gdk component publish`,
# `greengrass-cli` and `ggl-cli` take it from (docs/greengrass.md): `artifacts/stage.sh
# [aarch64|armv7|amd64]...`, all three by default, as a publication needs them.
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
for name in "$@"; do
  cp "target/artifacts/offboard-$name" "$stage/artifacts/$component/$version/"
done
# The one name is for `gdk component publish`, the other for nucleus lite.
cp "$recipe" "$stage/recipes/recipe.yaml"
cp "$recipe" "$stage/recipes/$component-$version.yaml"
find "$stage" -type f | sort
