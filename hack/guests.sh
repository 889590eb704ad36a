#!/usr/bin/env bash
# Builds the example state machines in C and Python into components, from wit/ alone.
# Usage: hack/guests.sh [--out FOLDER] [c] [python]
# Both without a name, into target/guests/ without a folder. Prints the paths of the components.
# One that is newer than its sources is left as it is. Exits 3 when the tools cannot be had here.
#
# The tools come from PyPI, in the versions below, into target/guests/tools/.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly ZIG=ziglang==0.17.1 # clang, wasm-ld and wasi-libc in one package
readonly COMPONENTIZE=componentize-py==0.25.1
readonly NO_TOOLS=3

target=${CARGO_TARGET_DIR:-target}
work=$target/guests
out=$work
wanted=()

say() { printf 'guests: %s\n' "$*" >&2; }

fail() {
    local code=$1
    shift
    say "$@"
    exit "$code"
}

usage() { fail 2 "usage: hack/guests.sh [--out FOLDER] [c] [python]"; }

while (($# > 0)); do
    case "$1" in
    c | python) wanted+=("$1") ;;
    --out)
        (($# > 1)) || usage
        out=$(cd "$caller" && realpath --canonicalize-missing "$2")
        shift
        ;;
    *) usage ;;
    esac
    shift
done
((${#wanted[@]} > 0)) || wanted=(c python)

# is_current FILE FOLDER: whether a file is there, and nothing newer of what it is made of.
is_current() {
    local -a newer=(-type f -newer "$1" -not -name '*.md' -print -quit)
    [[ -f $1 && -z $(find "$2" wit hack/guests hack/guests.sh Cargo.lock "${newer[@]}") ]]
}

# tool PACKAGE==VERSION: installs it if need be, and prints the Python that has it. A folder is
# named after the version, and complete once it has its mark.
tool() {
    local package=$1 venv log
    venv=$work/tools/${package/==/-}
    if [[ ! -e $venv/complete ]]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null ||
            fail $NO_TOOLS "python3 with its module venv is missing: run hack/setup.sh --guests"
        say "installing $package"
        log=$work/tools/pip.log
        rm -rf "$venv"
        mkdir -p "$venv"
        if ! { python3 -m venv "$venv" &&
            "$venv/bin/python" -m pip install --only-binary :all: "$package"; } >"$log" 2>&1; then
            tail -n 3 "$log" >&2
            fail $NO_TOOLS "pip could not install $package (whole output: $log)"
        fi
        touch "$venv/complete"
    fi
    echo "$venv/bin/python"
}

# publish FILE NAME: puts a component that is complete where it is wanted.
publish() {
    mkdir -p "$out"
    mv -f "$1" "$out/$2"
    say "built $out/$2"
}

build_c() {
    local source=fsm-guest/examples/counter-c/src bindings=$work/c/bindings python guest_tools
    python=$(tool $ZIG)
    # All members, so that cargo picks the features, and thus the builds, that it has already.
    cargo build --locked --quiet --workspace --bin rkv-guest-tools
    guest_tools=$target/debug/rkv-guest-tools
    "$guest_tools" c-bindings wit "$bindings"
    # A reactor has no main. The stack is 16 MiB otherwise, of memory that every instance has.
    ZIG_GLOBAL_CACHE_DIR=$work/c/zig ZIG_LOCAL_CACHE_DIR=$work/c/zig "$python" -m ziglang cc \
        --target=wasm32-wasi -mexec-model=reactor -Wl,-z,stack-size=65536 \
        -std=c11 -O2 -s -Wall -Wextra -Werror -I "$bindings" -o "$work/c/core.wasm" \
        "$source"/*.c "$bindings/fsm.c" "$bindings/fsm_component_type.o"
    "$guest_tools" component "$work/c/core.wasm" "$work/c/component.wasm"
    publish "$work/c/component.wasm" counter-c.wasm
}

build_python() {
    local python log=$work/python/build.log
    python=$(tool $COMPONENTIZE)
    # A copy, since compiled Python is written beside it.
    rm -rf "$work/python/source"
    mkdir -p "$work/python/source"
    cp fsm-guest/examples/counter-python/*.py "$work/python/source"
    # Without WASI: what would ask for the time or a file traps.
    if ! "${python%/python}/componentize-py" --wit-path wit --world fsm componentize --stub-wasi \
        --python-path "$work/python/source" app --output "$work/python/component.wasm" \
        >"$log" 2>&1; then
        cat "$log" >&2
        fail 1 "componentize-py did not build the component"
    fi
    publish "$work/python/component.wasm" counter-python.wasm
}

mkdir -p "$work/tools" "$work/c" "$work/python"
# Tests of two packages may ask for the same component at once.
exec 9>"$work/lock"
flock 9
for language in "${wanted[@]}"; do
    component=$out/counter-$language.wasm
    is_current "$component" "fsm-guest/examples/counter-$language" || "build_$language"
    echo "$component"
done
