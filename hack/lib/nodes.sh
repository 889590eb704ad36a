# shellcheck shell=bash
# The nodes of the cluster that startup.sh starts and stop.sh stops. Sourced, from the repository's
# root: the names below are relative to it, and a node's working directory is how it is known again.

# shellcheck disable=SC2034 # for those who source this
readonly NODES=(1 2 3)
readonly DATA=rkv-data

# Node 1 has ports 10001 (raft) and 10002 (HTTP), node 2 the next two, and so on.
raft_addr() { echo "127.0.0.1:$((9999 + 2 * $1))"; }
http_addr() { echo "127.0.0.1:$((10000 + 2 * $1))"; }
pid_file() { echo "$DATA/$1.pid"; }
log_file() { echo "$DATA/$1.log"; }

# Prints the process id of a node that runs. A pid file alone proves nothing: after a crash its
# number may belong to anyone.
running_pid() {
    local pid exe
    pid=$(cat "$(pid_file "$1")" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    exe=$(readlink "/proc/$pid/exe") || return 1
    # A binary that was rebuilt under a running node has " (deleted)" behind its name.
    [[ ${exe% (deleted)} == */rkvd && "/proc/$pid/cwd" -ef . ]] || return 1
    echo "$pid"
}

# wait_until SECONDS COMMAND...: whether the command succeeds in time.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# serves ID: whether a node is a healthy voter and serves. A linearizable read needs a leader, a quorum
# and a state machine, whether the key is there or not.
serves() {
    local url
    url=http://$(http_addr "$1")
    curl -fs -m 2 "$url/health" >/dev/null || return
    [[ $(curl -fs -m 2 "$url/stats") =~ \"voters\":\[([0-9]+,)*${1}[],] ]] || return
    [[ $(curl -s -m 2 -o /dev/null -w '%{http_code}' "$url/keys/hello") == @(200|404) ]]
}

has_ended() { ! running_pid "$1" >/dev/null; }

# stop_nodes ID...: SIGTERM to all of them at once, so that they end side by side.
stop_nodes() {
    local id pid failed=0
    for id in "$@"; do
        if pid=$(running_pid "$id"); then
            # It may be gone by now, which is just as well.
            kill -TERM "$pid" 2>/dev/null || true
        fi
    done
    for id in "$@"; do
        if wait_until 30 has_ended "$id"; then
            rm -f "$(pid_file "$id")"
        else
            echo "node $id (process $(running_pid "$id")) has not ended within 30 s;" \
                "see $(log_file "$id"), and end it with kill -KILL if it is stuck" >&2
            failed=1
        fi
    done
    return "$failed"
}
