#!/usr/bin/env bash
# Test with several processes: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]
# One process a GPU; on a machine without any, that many CPU processes. They meet at a free port, or
# at $PORT; on several machines at $MASTER_ADDR, with $NNODES and each machine's $NODE_RANK.
set -euo pipefail

[ $# -ge 3 ] || { echo "usage: $0 CONFIG CHECKPOINT PROCESSES [options of test.py]" >&2; exit 2; }
config=$1
checkpoint=$2
processes=$3
shift 3

meet=(--standalone --local-addr=127.0.0.1)
if [ -n "${PORT:-}" ] || [ "${NNODES:-1}" != 1 ]; then
    meet=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${meet[@]}" --nproc_per_node="$processes" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
