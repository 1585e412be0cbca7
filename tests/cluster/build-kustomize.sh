#!/usr/bin/env bash
# Builds kustomize from the Go module in `tools/kustomize`, once, and prints the program. It is kept in
# the cache beside the control plane, under the hash of its module files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache="${AIP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/aip}/cluster"
key=$(cat tools/kustomize/go.{mod,sum} | sha256sum | cut -c1-16)
bin="$cache/kustomize-$key"
mkdir -p "$bin"
exec 9>"$bin/.lock"
flock 9

if [ ! -x "$bin/kustomize" ]; then
  . ./find-go.sh
  find_go "$(awk '$1 == "go" { print "go" $2 }' tools/kustomize/go.mod)" "$cache"
  echo "building kustomize (once; one minute)" >&2
  export GOTOOLCHAIN=local GOFLAGS="-mod=readonly ${GOFLAGS:-}" CGO_ENABLED=0
  package=sigs.k8s.io/kustomize/kustomize/v5
  (cd tools/kustomize && go build -trimpath -ldflags "-s -w" -o "$bin/.kustomize" "$package" >&2)
  mv "$bin/.kustomize" "$bin/kustomize" # a build that was interrupted leaves nothing that looks finished
fi
echo "$bin/kustomize"
