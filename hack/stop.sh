#!/usr/bin/env bash
# Stops the cluster that ./hack/startup.sh started. Usage: hack/stop.sh [--wipe]
# --wipe removes rkv-data/ too. Nothing happens where nothing runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lib/nodes.sh
source hack/lib/nodes.sh

wipe=false
case "$*" in
'') ;;
--wipe) wipe=true ;;
*)
    echo "usage: hack/stop.sh [--wipe]" >&2
    exit 2
    ;;
esac

running=0
for id in "${NODES[@]}"; do
    has_ended "$id" || running=$((running + 1))
done
stop_nodes "${NODES[@]}"
if ((running > 0)); then
    echo "$running node(s) stopped."
else
    echo "No node runs."
fi

if "$wipe" && [[ -e $DATA ]]; then
    rm -rf "$DATA"
    echo "$PWD/$DATA is removed."
fi
