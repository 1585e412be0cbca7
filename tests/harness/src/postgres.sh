# A PostgreSQL cluster on a disk, with the settings that it comes with. Prints `ready PID DIRECTORY`
# when it accepts connections on the Unix socket there. Restarts it for each line `restart MODE` on
# standard input (MODE as `pg_ctl` has it), and says `ready` again. Removes everything when its
# standard input ends, so also when the program that started it is killed.
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
dir=$(mktemp -d /var/tmp/aip-harness-pg.XXXXXX)
trap 'pg_ctl --pgdata="$dir/data" --mode=immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
initdb --pgdata="$dir/data" --username=aip --auth=trust --encoding=UTF8 --locale=C >"$dir/log" 2>&1 ||
    { cat "$dir/log" >&2; exit 1; }

control() {
    pg_ctl --pgdata="$dir/data" --log="$dir/log" --options="-k $dir -h ''" --wait --timeout=60 "$@" \
        </dev/null >>"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
    echo "ready $(head -n 1 "$dir/data/postmaster.pid") $dir"
}

control start
while read -r command mode; do
    control --mode="$mode" "$command"
done
