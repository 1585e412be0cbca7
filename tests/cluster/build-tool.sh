#!/usr/bin/env bash
# build-tool.sh NAME: builds the Go program of the module `tools/NAME`, once, and prints where it is. That
# is the tool that the module names (kustomize), or the module itself (tiltfile, envoy-gateway). Programs are
# kept in the cache beside the control plane, under the hash of their module's files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

name="$1"
module="tools/$name"
cache="${AIP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/aip}/cluster"
key=$(find "$module" -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -c1-16)
bin="$cache/$name-$key"
mkdir -p "$bin"
exec 9>"$bin/.lock"
flock 9

if [ ! -x "$bin/$name" ]; then
  . ./find-go.sh
  find_go "$(awk '$1 == "go" { print "go" $2 }' "$module/go.mod")" "$cache"
  echo "building $name (once; some minutes)" >&2
  export GOTOOLCHAIN=local GOFLAGS="-mod=readonly ${GOFLAGS:-}" CGO_ENABLED=0
  package=$(awk '$1 == "tool" { print $2 }' "$module/go.mod")
  (cd "$module" && go build -trimpath -ldflags "-s -w" -o "$bin/.$name" "${package:-.}" >&2)
  mv "$bin/.$name" "$bin/$name" # a build that was interrupted leaves nothing that looks finished
fi
echo "$bin/$name"
