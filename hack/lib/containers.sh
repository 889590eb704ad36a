# shellcheck shell=bash
# The cluster in containers that startup.sh --docker starts and --down ends. Sourced, from the
# repository's root, with nodes.sh, image.sh and progress.sh: the ports are those of nodes.sh.

readonly IMAGE=rkv:local
readonly PORTS=(10001 10002 10003 10004 10005 10006)
readonly BECOME_HEALTHY_SECONDS=90

# compose.yml takes these from the environment; PORTS and nodes.sh are about its defaults.
unset RKV_IMAGE "${!RKV_HTTP_PORT_@}" "${!RKV_RAFT_PORT_@}"

refuse() {
    echo "startup: $*" >&2
    exit 1
}

# Finds the engine and compose, which is a plugin of docker, or a program of its own.
find_docker() {
    local answer
    command -v docker >/dev/null ||
        refuse "there is no docker here: install Docker, or run ./hack/startup.sh without --docker"
    answer=$(docker version --format '{{.Server.Version}}' 2>&1) ||
        refuse "no Docker engine answers; is it started, and may you use it? Docker says: ${answer##*$'\n'}"
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif command -v docker-compose >/dev/null; then
        compose=(docker-compose)
    else
        refuse "docker has no compose here: install its plugin (docker-compose-plugin) or docker-compose"
    fi
    compose+=(-p rkv -f hack/compose.yml)
}

# quietly COMMAND...: what it says is of interest if it fails.
quietly() {
    local output
    output=$("$@" 2>&1) && return
    echo "$output" >&2
    return 1
}

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Containers that run already have the ports, and whatever else there is needs others.
check_ports() {
    local id port
    [[ -z $(docker ps --quiet --filter label=com.docker.compose.project=rkv) ]] || return 0
    for id in "${NODES[@]}"; do
        has_ended "$id" || refuse "the cluster of ./hack/startup.sh has the ports: end it with ./hack/stop.sh"
    done
    for port in "${PORTS[@]}"; do
        ! is_taken "$port" || refuse "somebody listens on port $port already; the containers need ${PORTS[*]}"
    done
}

is_healthy() {
    local container
    container=$("${compose[@]}" ps -q "node-$1") || return
    [[ $(docker inspect --format '{{.State.Health.Status}}' "$container" 2>/dev/null) == healthy ]] &&
        serves "$1"
}

# start_containers DAEMON: all three at once; those that join wait for the first one.
start_containers() {
    local daemon=$1 previous id
    previous=$(docker image ls --quiet "$IMAGE")
    run_showing "building the image" build_image "$daemon" "$IMAGE" || exit 1
    run_showing "starting the containers" quietly "${compose[@]}" up -d || exit 1
    # The image of an earlier build has no name any more, and no container.
    if [[ -n $previous && $previous != $(docker image ls --quiet "$IMAGE") ]]; then
        quietly docker image rm "$previous" || true
    fi
    for id in "${NODES[@]}"; do
        wait_showing "waiting for node $id to be healthy and to vote" "$BECOME_HEALTHY_SECONDS" \
            is_healthy "$id" || give_up_container "$id"
    done
}

give_up_container() {
    echo "startup: node $1 is not a healthy voter after $BECOME_HEALTHY_SECONDS s. The end of its log:" >&2
    "${compose[@]}" logs --no-color --tail 15 "node-$1" >&2 || true
    quietly "${compose[@]}" stop || true
    refuse "the containers are stopped; ./hack/startup.sh --down removes them and their data"
}

# Removes containers, network, volumes and image, whatever of them there is.
remove_containers() {
    run_showing "ending the containers" quietly "${compose[@]}" down --volumes --remove-orphans || exit 1
    [[ -z $(docker image ls --quiet "$IMAGE") ]] || quietly docker image rm "$IMAGE" || exit 1
}
