"""Run an example on the processes of a launcher: FOLDER EXAMPLE OPTIONS (a list, as JSON)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_examples.harness import load  # noqa: E402


def main(folder: str, name: str, runs: str) -> None:
    example = load(name)
    for options in json.loads(runs):
        model, criterion = example.main(Path(folder), **options)
    if dist.get_rank() == 0:
        torch.save((model.state_dict(), criterion.state_dict()), Path(folder, 'result.pth'))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == '__main__':
    main(*sys.argv[1:])
