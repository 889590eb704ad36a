# shellcheck shell=bash
# What is waited for, on a terminal: one line that is redrawn, and gone at the end. Sourced, with
# nodes.sh.

# wait_showing WHAT SECONDS COMMAND...: wait_until, telling for what and for how long already.
wait_showing() {
    local what=$1 seconds=$2 since=$SECONDS status=0
    shift 2
    wait_until "$seconds" look "$@" || status=$?
    show ''
    return "$status"
}

# run_showing WHAT COMMAND...: runs it in the background, and hands back its status.
run_showing() {
    local what=$1 since=$SECONDS
    shift
    "$@" &
    while kill -0 "$!" 2>/dev/null; do
        show "$what, $((SECONDS - since)) s"
        sleep 0.1
    done
    show ''
    wait "$!"
}

# The step of wait_showing, whose names it sees.
look() {
    "$@" && return
    show "$what, $((SECONDS - since)) s"
    return 1
}

show() { [[ ! -t 2 ]] || printf '\r\e[K%s' "$1" >&2; }
