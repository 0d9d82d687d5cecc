#!/usr/bin/env bash
# Train with several processes: tools/dist_train.sh CONFIG PROCESSES [options of train.py]
# One process a GPU; on a machine without any, that many CPU processes. They meet at a free port, or
# at $PORT; on several machines at $MASTER_ADDR, with $NNODES and each machine's $NODE_RANK.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 CONFIG PROCESSES [options of train.py]" >&2; exit 2; }
config=$1
processes=$2
shift 2

meet=(--standalone --local-addr=127.0.0.1)
if [ -n "${PORT:-}" ] || [ "${NNODES:-1}" != 1 ]; then
    meet=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${meet[@]}" --nproc_per_node="$processes" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
