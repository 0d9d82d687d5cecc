"""Draw the soft labels of a checkpoint, and list the most confused pairs of classes.

With --class, also draw what one class is taught by hard labels, label smoothing and OLS.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mmdet_ols.analysis import (
    confused_pairs,
    group_contrast,
    soft_labels_in_checkpoint,
    table_of_pairs,
)
from mmdet_ols.checks.checkpoints import load_checkpoint, loading_rules
from mmdet_ols.cli.options import add_trust_option, escape_unprintable, user_errors
from mmdet_ols.core.arguments import check_integer, check_number
from mmdet_ols.visualization import matching_names, save_soft_labels, save_target


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'checkpoint',
        help='a checkpoint of a model with an online soft-label loss, or a .npy file that OLSHook '
        'wrote (WORK_DIR/soft_labels/LOSS/epoch_N.npy)',
    )
    parser.add_argument('--out-dir', help='folder of the pictures (that of the checkpoint)')
    parser.add_argument('--top', type=int, default=10, help='how many pairs to list')
    parser.add_argument(
        '--class',
        dest='name',
        metavar='CLASS',
        help='also draw what this class (name or number) is taught, on a log axis',
    )
    parser.add_argument(
        '--epsilon',
        type=float,
        default=0.1,
        help='epsilon of the label smoothing that --class draws (0.1)',
    )
    parser.add_argument(
        '--classes',
        metavar='NAME,NAME',
        help='names of the classes, for a .npy file, which holds none',
    )
    parser.add_argument(
        '--groups',
        nargs='+',
        metavar='NAME,NAME',
        help='groups of classes that look alike; prints how much more often those are confused',
    )
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    escape_unprintable()
    args = parse_args()
    with user_errors(), loading_rules(args.trust_checkpoint):
        check_integer('--top', args.top, least=0)
        check_number('--epsilon', args.epsilon, 'in [0, 1]')
        matrices, classes = _read(args.checkpoint)
        if args.classes:
            classes = args.classes.split(',')
            _check_classes(classes, matrices)
        if args.groups and not classes:
            raise ValueError(
                f'--groups needs the names of the classes, of which {args.checkpoint} holds none: '
                'name them with --classes.'
            )
        groups = [group.split(',') for group in args.groups or ()]
        folder = Path(args.out_dir or Path(args.checkpoint).parent)
        folder.mkdir(parents=True, exist_ok=True)
        for loss, matrix in matrices.items():
            names = matching_names(matrix, classes)
            _print_pairs(loss, matrix, names, args.top, groups)
            stem = f'{Path(args.checkpoint).stem}_soft_labels_{loss}'
            path = folder / f'{stem}.png'
            save_soft_labels(path, matrix, names, title=loss)
            print(f'Heat map: {path}')
            if args.name:
                path = folder / f'{stem}_{_part_of_file_name(args.name)}.png'
                save_target(path, matrix, args.name, names, args.epsilon)
                print(f'What {args.name} is taught: {path}')


def _check_classes(classes: Sequence[str], matrices: Mapping[str, torch.Tensor]) -> None:
    """Refuse names of which no soft labels have as many; those of other heads go without."""
    if any(matching_names(matrix, classes) for matrix in matrices.values()):
        return
    sizes = ' or '.join(str(len(matrix)) for matrix in matrices.values())
    raise ValueError(
        f'--classes must name the {sizes} classes of the soft labels, or all but the background, '
        f'but got {len(classes)} name{"" if len(classes) == 1 else "s"}.'
    )


def _part_of_file_name(text: str) -> str:
    """A text as a part of a file's name, which has forbidden characters and at most 255 bytes."""
    part = re.sub(r'[\\/:*?"<>|\s]+', '_', text)
    if len(part.encode()) <= 80:
        return part
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f'{part.encode()[:70].decode(errors="ignore")}_{digest}'


def _read(path: str) -> tuple[dict[str, torch.Tensor], Sequence[str] | None]:
    """The soft labels in a file, by the name of their loss, and the class names it knows."""
    if path.endswith('.npy'):
        try:
            matrix = np.load(path)
        except (ValueError, EOFError):  # NumPy's remedy is to run what the file holds
            matrix = np.empty(0)
        if matrix.ndim != 2 or not matrix.size:
            raise ValueError(f'{path} must hold a matrix of soft labels, as OLSHook writes it.')
        return {Path(path).absolute().parent.name: torch.from_numpy(matrix)}, None
    checkpoint = load_checkpoint(path)
    meta = checkpoint.get('meta', {}).get('dataset_meta', {})
    return soft_labels_in_checkpoint(checkpoint), meta.get('classes')


def _print_pairs(
    loss: str,
    matrix: torch.Tensor,
    names: Sequence[str] | None,
    top: int,
    groups: Sequence[Sequence[str]],
) -> None:
    pairs = confused_pairs(matrix, names, top)
    if pairs:
        print(f'Most confused classes, by the soft labels of {loss}:')
        print(table_of_pairs(pairs))
    elif top:
        print(f'The soft labels of {loss} know no confused classes yet: all of them are uniform.')
    if groups and names:
        inside, outside = group_contrast(matrix, names, groups)
        times = inside / outside if outside else math.inf
        print(
            f'A class gives {inside:.2%} of its soft label to each class of its group and '
            f'{outside:.2%} to each other class: {times:.1f} times as much.'
        )


if __name__ == '__main__':
    main()
