#!/usr/bin/env bash
# Builds rkv and starts a cluster of three nodes on this machine, in the background. Data, logs and
# pid files are in rkv-data/ and survive ./hack/stop.sh. A node that already runs is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lib/nodes.sh
source hack/lib/nodes.sh

readonly WAIT_SECONDS=60
started=()
declare -A pids

print_help() {
    cat <<EOF

  curl -L -X POST 'http://$(http_addr 1)/keys/hello?val=world'   write; -L follows to the leader
  curl http://$(http_addr 2)/keys/hello                          read, on any node
  curl http://$(http_addr 3)/servers                             the members
  curl http://$(http_addr 1)/stats                               a node's figures

Logs and data are in $PWD/$DATA. Stop with ./hack/stop.sh, add --wipe to lose the data too.
EOF
}

give_up() {
    local id=$1 reason=$2
    echo "startup: node $id $reason. The end of $(log_file "$id"):" >&2
    tail -n 15 "$(log_file "$id")" >&2 || true
    stop_nodes "${started[@]}"
    exit 1
}

start() {
    local id=$1 join=()
    ((id == 1)) || join=(--join "$(http_addr 1)")
    # A session of its own: neither Ctrl-C here nor the end of this terminal reaches it.
    setsid "$rkvd" --id "$id" --data-dir "$DATA/$id" --raft-addr "$(raft_addr "$id")" \
        --server-addr "$(http_addr "$id")" "${join[@]}" </dev/null >>"$(log_file "$id")" 2>&1 &
    pids[$id]=$!
    echo "${pids[$id]}" >"$(pid_file "$id")"
    started+=("$id")
}

is_alive() { kill -0 "${pids[$1]}" 2>/dev/null; }

# Whether a node is healthy and a voter of a cluster that has a leader, or has ended.
is_settled() {
    local id=$1 url stats
    url=http://$(http_addr "$id")
    is_alive "$id" || return 0
    curl -fs -m 2 "$url/health" >/dev/null || return
    stats=$(curl -fs -m 2 "$url/stats") || return
    [[ $stats =~ \"voters\":\[([0-9]+,)*${id}[],] && $stats =~ \"leader\":[0-9] ]]
}

wait_for() {
    local id=$1
    wait_until "$WAIT_SECONDS" is_settled "$id" ||
        give_up "$id" "is not a healthy voter after $WAIT_SECONDS s"
    is_alive "$id" || give_up "$id" "has ended"
}

missing=()
for id in "${NODES[@]}"; do
    running_pid "$id" >/dev/null || missing+=("$id")
done
if ((${#missing[@]} == 0)); then
    echo "The cluster of three already runs. Try:"
    print_help
    exit
fi

hack/setup.sh
cargo build --release --locked -p rkv-host
rkvd=$(realpath "${CARGO_TARGET_DIR:-target}/release/rkvd")
mkdir -p "$DATA"

# Nodes that were members come back all at once, as they need each other for a quorum. New ones join
# one after the other.
new=()
for id in "${missing[@]}"; do
    if [[ -e $DATA/$id ]]; then
        start "$id"
    else
        new+=("$id")
    fi
done
for id in "${started[@]}"; do
    wait_for "$id"
done
for id in "${new[@]}"; do
    start "$id"
    wait_for "$id"
done

echo "A cluster of three runs. Try:"
print_help
