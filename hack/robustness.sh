#!/usr/bin/env bash
# Clients use a cluster while everything around it fails, and what they saw is checked.
# Usage: hack/robustness.sh [MINUTES] [SEED]       3 minutes, and a seed that it prints
#        hack/robustness.sh --mutations [SEED]     are bugs found that are there on purpose?
# With a seed from before, the same faults come in the same order; the system's own timing differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=(--minutes "${1:-3}")
[[ ${1:-} != --mutations ]] || what=(--mutations)

hack/setup.sh
cargo build --locked -p rkv-host
cargo build --locked -p rkv-host --features failpoints --bin rkvd-failpoints
exec cargo run --quiet --locked -p rkv-tests --bin rkv-robustness -- \
    "${what[@]}" ${2:+--seed "$2"}
