#!/usr/bin/env bash
# Builds the stock clients that are Go programs into the folder $1: an app with go-oidc and x/oauth2
# (main.go), and oauth2-proxy as it is published.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bin=$1

. ../../../cluster/find-go.sh
find_go "$(awk '$1 == "go" { print "go" $2 }' go.mod)" "$(dirname "$bin")"
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly ${GOFLAGS:-}" CGO_ENABLED=0
go build -trimpath -ldflags "-s -w" -o "$bin/oidc-app" .
go build -trimpath -ldflags "-s -w" -o "$bin/oauth2-proxy" github.com/oauth2-proxy/oauth2-proxy/v7
