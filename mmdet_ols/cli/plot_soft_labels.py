"""Draw the soft labels of a checkpoint, and list the pairs of classes that they confuse most.

Of one class it draws what hard labels, label smoothing and OLS teach.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mmdet_ols import analysis
from mmdet_ols.checks.checkpoints import load_checkpoint, loading_rules
from mmdet_ols.cli.options import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'checkpoint',
        help='a checkpoint of a model with an online soft-label loss, or a .npy file that OLSHook '
        'wrote (WORK_DIR/soft_labels/LOSS/epoch_N.npy)',
    )
    parser.add_argument('--out-dir', help='where the PNG goes (beside the checkpoint)')
    parser.add_argument('--top', type=int, default=10, help='how many pairs to list')
    parser.add_argument(
        '--class',
        dest='name',
        metavar='CLASS',
        help='also draw what this class (name or number) is taught, on a log axis',
    )
    parser.add_argument(
        '--epsilon', type=float, default=0.1, help='of the label smoothing beside it (0.1)'
    )
    parser.add_argument(
        '--classes',
        metavar='NAME,NAME',
        help='names of the classes, for a .npy file, which has none',
    )
    parser.add_argument(
        '--groups',
        nargs='+',
        metavar='NAME,NAME',
        help='classes that look alike: say how much more they are taken for each other',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load a checkpoint that holds more than data; it can run code on this machine',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with user_errors(), loading_rules(args.trust_checkpoint):
        if args.checkpoint.endswith('.npy'):
            loss = Path(args.checkpoint).absolute().parent.name
            matrices, classes = {loss: torch.from_numpy(np.load(args.checkpoint))}, None
        else:
            checkpoint = load_checkpoint(args.checkpoint)
            matrices = analysis.soft_labels_in_checkpoint(checkpoint)
            classes = checkpoint.get('meta', {}).get('dataset_meta', {}).get('classes')
        classes = args.classes.split(',') if args.classes else classes
        folder = Path(args.out_dir or Path(args.checkpoint).parent)
        folder.mkdir(parents=True, exist_ok=True)
        for loss, matrix in matrices.items():
            names = analysis.fitting_names(matrix, classes)
            print(f'Most confused classes, by the soft labels of {loss}:')
            print(analysis.table_of_pairs(analysis.confused_pairs(matrix, names, args.top)))
            if args.groups and names:
                groups = [group.split(',') for group in args.groups]
                inside, outside = analysis.group_contrast(matrix, names, groups)
                print(
                    f'A class gives {inside:.2%} of its soft label to each class of its group and '
                    f'{outside:.2%} to each other class: {inside / outside:.1f} times as much.'
                )
            stem = f'{Path(args.checkpoint).stem}_soft_labels_{loss}'
            path = folder / f'{stem}.png'
            analysis.save_soft_labels(path, matrix, names, title=loss)
            print(f'Heat map: {path}')
            if args.name:
                path = folder / f'{stem}_{args.name.replace("/", "_")}.png'
                analysis.save_target(path, matrix, args.name, names, args.epsilon)
                print(f'What {args.name} is taught: {path}')


if __name__ == '__main__':
    main()
