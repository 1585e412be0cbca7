#!/usr/bin/env bash
# Builds a container registry from the Go module in `tools/registry`, once, and prints the program. It
# is kept in the cache beside the control plane of the cluster suite, under the hash of its sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache="${AIP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/aip}/cluster"
key=$(cat tools/registry/{go.mod,go.sum,main.go} | sha256sum | cut -c1-16)
bin="$cache/registry-$key"
mkdir -p "$bin"
exec 9>"$bin/.lock"
flock 9

if [ ! -x "$bin/registry" ]; then
  . ../cluster/find-go.sh
  find_go "$(awk '$1 == "go" { print "go" $2 }' tools/registry/go.mod)" "$cache"
  echo "building the registry (once; two minutes)" >&2
  export GOTOOLCHAIN=local GOFLAGS="-mod=readonly ${GOFLAGS:-}" CGO_ENABLED=0
  (cd tools/registry && go build -trimpath -ldflags "-s -w" -o "$bin/.registry" . >&2)
  mv "$bin/.registry" "$bin/registry" # a build that was interrupted leaves nothing that looks finished
fi
echo "$bin/registry"
