# A PgBouncer in transaction mode before the cluster whose socket is in the directory $2: prints
# `ready DIRECTORY` when it accepts connections on the Unix socket there (port 6432), and removes
# everything when its standard input ends.
set -eu

# PgBouncer refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid=postgres --regid=postgres --clear-groups sh -c "$1" sh "$1" "$2"
fi
PATH="$PATH:/usr/sbin"
command -v pgbouncer >/dev/null || { echo "PgBouncer is not installed" >&2; exit 1; }

cd /
dir=$(mktemp -d "${TMPDIR:-/tmp}/aip-pgb.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cat >"$dir/pgbouncer.ini" <<CONFIG
[databases]
* = host=$2 user=aip
[pgbouncer]
pool_mode = transaction
# Fewer than the test's clients, so that they are given each other's.
default_pool_size = 3
max_client_conn = 200
auth_type = any
listen_addr =
listen_port = 6432
unix_socket_dir = $dir
logfile = $dir/log
CONFIG
pgbouncer "$dir/pgbouncer.ini" </dev/null >>"$dir/log" 2>&1 &
server=$!
tries=0
until [ -S "$dir/.s.PGSQL.6432" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then cat "$dir/log" >&2; exit 1; fi
    sleep 0.1
done
echo "ready $dir"

cat >/dev/null
kill -INT "$server" 2>/dev/null || true
wait "$server" 2>/dev/null || true
