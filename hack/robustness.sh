#!/usr/bin/env bash
# Clients use a cluster while everything around it fails, and what they saw is checked.
# Usage: hack/robustness.sh [MINUTES] [SEED]       3 minutes, and a seed that it prints
#        hack/robustness.sh --mutations [SEED]     are bugs found that are there on purpose?
# With a seed from before, the same faults come in the same order; the system's own timing differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lib/tested.sh
source hack/lib/tested.sh

what=(--minutes "${1:-3}")
[[ ${1:-} != --mutations ]] || what=(--mutations)

hack/setup.sh
build_tested
cargo build --locked --workspace --bin rkv-robustness
exec "${CARGO_TARGET_DIR:-target}/debug/rkv-robustness" "${what[@]}" ${2:+--seed "$2"}
