#!/usr/bin/env bash
# Builds rkv and starts a cluster of three nodes on this machine, in the background. Data, logs and
# pid files are in rkv-data/ and survive ./hack/stop.sh. A node that already runs is left alone.
# With --docker it is three containers, and the data is in volumes; --down ends those and leaves nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lib/nodes.sh
source hack/lib/nodes.sh
# shellcheck source=lib/progress.sh
source hack/lib/progress.sh
# shellcheck source=lib/image.sh
source hack/lib/image.sh
# shellcheck source=lib/containers.sh
source hack/lib/containers.sh

readonly WAIT_SECONDS=60
started=()
declare -A pids

usage() {
    cat >&2 <<EOF
usage: hack/startup.sh [--docker | --down]

  (nothing)  builds rkv and starts three nodes on this machine; ./hack/stop.sh ends them
  --docker   builds rkv and an image of it, and starts three containers; data is in volumes
  --down     removes the containers, their network, volumes and image: their data is deleted
EOF
    exit 2
}

print_help() {
    cat <<EOF

  curl -L -X POST 'http://$(http_addr 1)/keys/hello?val=world'   write; -L follows to the leader
  curl http://$(http_addr 2)/keys/hello                          read, on any node
  curl http://$(http_addr 3)/servers                             the members
  curl http://$(http_addr 1)/stats                               a node's figures

EOF
}

print_help_processes() {
    print_help
    echo "Logs and data are in $PWD/$DATA. Stop with ./hack/stop.sh, add --wipe to lose the data too."
}

print_help_containers() {
    print_help
    echo "Logs: ${compose[*]} logs. Stop and keep the data: ${compose[*]} stop."
    echo "Remove all of it, the data too: ./hack/startup.sh --down"
}

build() {
    hack/setup.sh
    cargo build --release --locked -p rkv-host
    rkvd=$(realpath "${CARGO_TARGET_DIR:-target}/release/rkvd")
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

# Whether a node serves, or has ended.
is_settled() {
    is_alive "$1" || return 0
    serves "$1"
}

wait_for() {
    local id=$1
    wait_showing "waiting for node $id to be healthy and to vote" "$WAIT_SECONDS" is_settled "$id" ||
        give_up "$id" "is not a healthy voter after $WAIT_SECONDS s"
    is_alive "$id" || give_up "$id" "has ended"
}

case "$*" in
'') ;;
--docker)
    find_docker
    check_ports
    build
    start_containers "$rkvd"
    echo "A cluster of three containers runs. Try:"
    print_help_containers
    exit
    ;;
--down)
    find_docker
    remove_containers
    echo "Nothing is left of the cluster in containers."
    exit
    ;;
*) usage ;;
esac

missing=()
for id in "${NODES[@]}"; do
    running_pid "$id" >/dev/null || missing+=("$id")
done
if ((${#missing[@]} == 0)); then
    echo "The cluster of three already runs. Try:"
    print_help_processes
    exit
fi

build
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
print_help_processes
