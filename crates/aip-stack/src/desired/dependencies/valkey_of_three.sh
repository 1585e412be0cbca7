# Runs one of three Valkey servers (`server`), or the Sentinel beside it (`sentinel`), which tells who asks which
# server is the primary, and has another one elected when that is gone. The other arguments are the program's.
#   SERVER_NAME    the name of this server, by which the others reach it
#   SERVERS        the names of all three
#   PASSWORD_FILE  a file with the password of servers and Sentinels
#   SENTINEL_FILE  the Sentinel's configuration, which is written here and which it goes on to write
set -eu
role=$1
shift
REDISCLI_AUTH=$(cat "$PASSWORD_FILE")
export REDISCLI_AUTH

# By the word of the first Sentinel that answers; the first server, if none does: then all begin at once.
find_primary() {
    for server in $SERVERS; do
        named=$(timeout 2 valkey-cli -h "$server" -p 26379 --raw \
            SENTINEL get-master-addr-by-name aip 2>/dev/null | head -n 1) || named=
        for known in $SERVERS; do
            if [ "$named" = "$known" ]; then
                echo "$known"
                return
            fi
        done
    done
    echo "${SERVERS%% *}"
}

primary=$(find_primary)
if [ "$role" = server ]; then
    [ "$primary" = "$SERVER_NAME" ] || set -- "$@" --replicaof "$primary" 6379
    exec valkey-server "$@" --replica-announce-ip "$SERVER_NAME"
fi

# With the same id after a restart it is not taken for another one, of which there would be more and more.
id=$(printf %s "$SERVER_NAME" | sha1sum | cut -c 1-40)
umask 077
cat >"$SENTINEL_FILE" <<END
dir ${SENTINEL_FILE%/*}
requirepass $REDISCLI_AUTH
sentinel myid $id
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $SERVER_NAME
sentinel monitor aip $primary 6379 2
sentinel auth-pass aip $REDISCLI_AUTH
sentinel down-after-milliseconds aip 5000
sentinel failover-timeout aip 30000
END
exec valkey-server "$SENTINEL_FILE" --sentinel "$@"
