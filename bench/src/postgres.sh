# A PostgreSQL cluster on a disk, with the settings that it comes with: prints `ready PID DIRECTORY`
# when it accepts connections on the Unix socket there, and removes everything when its standard
# input ends, so also when the benchmark is killed.
set -eu

# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid=postgres --regid=postgres --clear-groups sh -c "$1" sh "$1"
fi

for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
    if [ -x "$bin/initdb" ]; then PATH="$bin:$PATH"; fi
done
command -v initdb >/dev/null || { echo "PostgreSQL is not installed: no initdb" >&2; exit 1; }

cd /
# Not /tmp, which may be memory: what a commit costs is what is measured.
dir=$(mktemp -d /var/tmp/aip-bench-pg.XXXXXX)
trap 'rm -rf "$dir"' EXIT
initdb --pgdata="$dir/data" --username=aip --auth=trust --encoding=UTF8 --locale=C >"$dir/log" 2>&1 ||
    { cat "$dir/log" >&2; exit 1; }

postgres -D "$dir/data" -k "$dir" -h '' </dev/null >>"$dir/log" 2>&1 &
server=$!
tries=0
until pg_isready --quiet --host="$dir" --username=aip; do
    tries=$((tries + 1))
    if [ "$tries" -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then cat "$dir/log" >&2; exit 1; fi
    sleep 0.1
done
echo "ready $server $dir"

cat >/dev/null
kill -INT "$server" 2>/dev/null || true
wait "$server" 2>/dev/null || true
