#!/bin/sh
# Builds the image that Tilt asks for (EXPECTED_REF): `aip` as tests build it, and `aip-sandbox`.
set -eu
cd "$(dirname "$0")/../.."
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
cargo xtask image --profile dev --files "$files" --with-sandbox
docker build --tag "$EXPECTED_REF" --file deploy/tilt/Dockerfile "$files"
