"""Draw the demo data set: nine classes in three families of look-alikes, in VOC's layout."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mmdet_ols.datasets.demo_voc import CLASSES, DEFAULT_NUM_IMAGES, MANIFEST, make_demo_voc


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'root',
        nargs='?',
        default='data/demo',
        type=Path,
        help='new folder for the data set (data/demo)',
    )
    parser.add_argument(
        '--images',
        nargs=3,
        type=int,
        default=list(DEFAULT_NUM_IMAGES.values()),
        metavar=('TRAIN07', 'TRAIN12', 'TEST07'),
        help=f'number of images of {", ".join(DEFAULT_NUM_IMAGES)} '
        f'({" ".join(map(str, DEFAULT_NUM_IMAGES.values()))})',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the images (0)')
    parser.add_argument(
        '--wrong-labels',
        type=float,
        default=0.0,
        metavar='SHARE',
        help='share of the training objects that are labelled wrongly on purpose, such as 0.05 (0)',
    )
    parser.add_argument('--workers', type=int, help='number of processes (one for each CPU core)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    num_images = dict(zip(DEFAULT_NUM_IMAGES, args.images))
    try:
        make_demo_voc(
            args.root, num_images, args.seed, args.workers, True, wrong_labels=args.wrong_labels
        )
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('\nInterrupted: nothing is left of the drawing')
    num_objects = json.loads((args.root / MANIFEST).read_text())['num_objects']
    for split, count in num_images.items():
        print(f'{split}: {count} images, {sum(num_objects[split].values())} objects')
    totals = {name: sum(split[name] for split in num_objects.values()) for name in CLASSES}
    print(f'{args.root} holds ' + ', '.join(f'{count} {name}' for name, count in totals.items()))


if __name__ == '__main__':
    main()
