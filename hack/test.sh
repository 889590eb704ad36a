#!/usr/bin/env bash
# Runs the whole test suite, then three minutes of faults, always the same ones. With arguments, which
# go to cargo test, only that: hack/test.sh redirect
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lib/tested.sh
source hack/lib/tested.sh

hack/setup.sh
# Without these, the tests that need them are skipped, and say so.
hack/setup.sh --guests || true
hack/setup.sh --metrics || true
# Tests of nodes wait for them more than they compute.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
build_tested
cargo test --locked --workspace "$@"
if (($# == 0)); then
    hack/robustness.sh 3 1
fi
