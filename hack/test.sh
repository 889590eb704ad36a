#!/usr/bin/env bash
# Runs the whole test suite. Arguments go to cargo test: hack/test.sh redirect
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hack/setup.sh
# Without these, the tests that need them are skipped, and say so.
hack/setup.sh --guests || true
# The black-box tests run this binary.
cargo build --locked -p rkv-host
cargo build --locked -p rkv-host --features failpoints --bin rkvd-failpoints
exec cargo test --locked --workspace "$@"
