# A standby of the PostgreSQL cluster whose Unix socket is in the directory $2 with the port $3: copied
# by `pg_basebackup`, then fed by streaming replication under the name `standby1`. It listens on the
# port $4 of 127.0.0.1. Prints `ready DIRECTORY`, and ends, as postgres.sh does.
set -eu

# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ] && [ -z "${AIP_TEST_CLUSTER_USER:-}" ]; then
    AIP_TEST_CLUSTER_USER=postgres
    export AIP_TEST_CLUSTER_USER
    exec setpriv --reuid="$AIP_TEST_CLUSTER_USER" --regid="$AIP_TEST_CLUSTER_USER" --clear-groups sh -c "$1" sh "$@"
fi

for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
    if [ -x "$bin/pg_basebackup" ]; then PATH="$bin:$PATH"; fi
done

cd /
dir=$(mktemp -d "${TMPDIR:-/tmp}/aip-pg.XXXXXX")
trap 'rm -rf "$dir"' EXIT
pg_basebackup --pgdata="$dir/data" --dbname="host=$2 port=$3 user=aip application_name=standby1" \
    --checkpoint=fast --no-sync --write-recovery-conf >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }

# Its settings came with the copy; the last of two lines counts.
echo "port = $4" >>"$dir/data/postgresql.conf"
postgres -D "$dir/data" -k "$dir" -h 127.0.0.1 -c fsync=off -c max_connections=300 -c shared_buffers=32MB \
    </dev/null >>"$dir/log" 2>&1 &
server=$!
tries=0
until pg_isready --quiet --host="$dir" --port="$4"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then cat "$dir/log" >&2; exit 1; fi
    sleep 0.1
done
echo "ready $dir"

cat >/dev/null
kill -QUIT "$server" 2>/dev/null || true
wait "$server" 2>/dev/null || true
