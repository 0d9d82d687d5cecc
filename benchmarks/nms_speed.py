"""Time mmcv's NMS on the CPU, which shows whether its operators were compiled with optimisation.

python benchmarks/nms_speed.py [BOXES]
"""

from __future__ import annotations

import argparse
import time

import torch
from mmcv.ops import nms


def seconds_for_nms(boxes: int, repeats: int) -> list[float]:
    """Return the processor's seconds of each call, in ascending order, on one thread."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    corners = 500 * torch.rand(boxes, 2)
    rectangles = torch.cat([corners, corners + 100 * torch.rand(boxes, 2)], 1)
    scores = torch.rand(boxes)
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        nms(rectangles, scores, 0.5)
        seconds.append(time.process_time() - start)
    return sorted(seconds[1:])  # the first one allocates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('boxes', nargs='?', type=int, default=4000)
    boxes = parser.parse_args().boxes
    seconds = seconds_for_nms(boxes, repeats=15)
    low, median, high = (1e3 * seconds[index] for index in (3, 7, 11))
    print(f'{boxes} boxes: {median:.1f} ms (half of the calls between {low:.1f} and {high:.1f})')


if __name__ == '__main__':
    main()
