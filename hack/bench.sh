#!/usr/bin/env bash
# Compares rkv with etcd on this machine, three nodes each and one, under the same load generator.
# Usage: hack/bench.sh [ROUNDS] [SECONDS]    5 rounds, 4 seconds for each of their measurements
# Takes 52 measurements a round and number of nodes at 1, 16, 64 and 256 connections; plots go to hack/bench/plots.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hack/setup.sh
hack/setup.sh --bench
cargo build --release --locked -p rkv-host -p rkv-bench --bins
# Both packages again: the same dependencies with the same features, which are there by now.
cargo build --release --locked -p rkv-host -p rkv-bench --features rkv-host/native-kv --bin rkvd-native-kv
target=$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
for nodes in 3 1; do
    "$target/release/rkv-bench" compare --nodes "$nodes" --rounds "${1:-5}" --seconds "${2:-4}" \
        --plots hack/bench/plots
done
