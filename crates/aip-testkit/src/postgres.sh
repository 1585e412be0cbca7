# A throw-away PostgreSQL cluster: prints `ready DIRECTORY` when it accepts connections on the
# Unix socket there, and removes everything when its standard input ends, so also when the tests
# are killed. With a PORT as $2 it listens on 127.0.0.1, too: for TLS alone, with the files
# `certificate.pem` and `key.pem` of the directory $3, if that is named.
set -eu

# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ] && [ -z "${AIP_TEST_CLUSTER_USER:-}" ]; then
    AIP_TEST_CLUSTER_USER=postgres
    export AIP_TEST_CLUSTER_USER
    exec setpriv --reuid="$AIP_TEST_CLUSTER_USER" --regid="$AIP_TEST_CLUSTER_USER" --clear-groups sh -c "$1" sh "$@"
fi

for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
    if [ -x "$bin/initdb" ]; then PATH="$bin:$PATH"; fi
done
command -v initdb >/dev/null || { echo "PostgreSQL is not installed: no initdb" >&2; exit 1; }

cd /
dir=$(mktemp -d "${TMPDIR:-/tmp}/aip-pg.XXXXXX")
trap 'rm -rf "$dir"' EXIT
initdb --pgdata="$dir/data" --username=aip --auth=trust --encoding=UTF8 --locale=C --no-sync >"$dir/log" 2>&1 ||
    { cat "$dir/log" >&2; exit 1; }

address=
if [ -n "${2:-}" ]; then
    address=127.0.0.1
    echo "port = $2" >>"$dir/data/postgresql.conf"
fi
if [ -n "${3:-}" ]; then
    # The key must be the server's own, and nobody else's.
    install -m 600 "$3/certificate.pem" "$3/key.pem" "$dir/data/"
    printf "ssl = on\nssl_cert_file = 'certificate.pem'\nssl_key_file = 'key.pem'\n" >>"$dir/data/postgresql.conf"
    echo "hostssl all all 127.0.0.1/32 trust" >"$dir/data/pg_hba.conf"
    echo "local all all trust" >>"$dir/data/pg_hba.conf"
fi

# No durability: the cluster does not outlive the test.
postgres -D "$dir/data" -k "$dir" -h "$address" -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
    -c max_connections=300 -c shared_buffers=32MB </dev/null >>"$dir/log" 2>&1 &
server=$!
tries=0
until pg_isready --quiet --host="$dir" --port="${2:-5432}"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then cat "$dir/log" >&2; exit 1; fi
    sleep 0.1
done
echo "ready $dir"

cat >/dev/null
kill -QUIT "$server" 2>/dev/null || true
wait "$server" 2>/dev/null || true
