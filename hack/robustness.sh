#!/usr/bin/env bash
# Clients use a cluster while everything around it fails, and what they saw is checked.
# Usage: hack/robustness.sh [MINUTES] [SEED]. Without them: 3 minutes, and a seed that it prints.
# With a seed from before, the same faults come in the same order; the system's own timing differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hack/setup.sh
cargo build --locked -p rkv-host
cargo build --locked -p rkv-host --features failpoints --bin rkvd-failpoints
exec cargo run --quiet --locked -p rkv-tests --bin rkv-robustness -- \
    --minutes "${1:-3}" ${2:+--seed "$2"}
