"""Draw a t-SNE of the features before the last layer of classifiers, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console

from mmdet_ols.analysis.features import embed, read_features
from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.cli.options import (
    add_config_options,
    add_trust_option,
    escape_unprintable,
    user_errors,
)
from mmdet_ols.engine.run_config import read_config
from mmdet_ols.visualization import draw_embeddings


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'networks', nargs='+', metavar='CONFIG CHECKPOINT', help='a network; each gets a panel'
    )
    parser.add_argument(
        '--titles', nargs='+', metavar='TITLE', help='titles of the panels (CONFIG)'
    )
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='test', help='whose images (test)'
    )
    parser.add_argument(
        '--max-samples',
        type=int,
        default=10000,
        help='number of images, evenly spaced over the data; 0 takes all (10000)',
    )
    parser.add_argument('--perplexity', type=float, default=30.0, help='perplexity of t-SNE (30)')
    parser.add_argument('--seed', type=int, default=0, help='seed of t-SNE (0)')
    parser.add_argument(
        '--out',
        default='features.png',
        help='the picture (features.png); the points are saved in the same folder as .npz',
    )
    add_config_options(parser)
    add_trust_option(parser)
    args = parser.parse_args()
    args.pairs = list(zip(args.networks[::2], args.networks[1::2]))
    if len(args.networks) % 2:
        parser.error(f'name a CHECKPOINT for each CONFIG, but got {" ".join(args.networks)}')
    args.titles = args.titles or [Path(config).stem for config, _ in args.pairs]
    if len(args.titles) != len(args.pairs):
        parser.error(f'--titles takes {len(args.pairs)} titles, but got {args.titles}')
    return args


def main() -> None:
    escape_unprintable()
    args = parse_args()
    with user_errors(), loading_rules(args.trust_checkpoint):
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        panels = []
        for number, (config, checkpoint) in enumerate(args.pairs, 1):
            cfg = read_config(config, options=args.cfg_options, data_root=args.data_root)
            values, labels, classes = read_features(cfg, checkpoint, args.split, args.max_samples)
            with Console().status(f't-SNE of {len(labels)} images'):
                points = embed(values, args.perplexity, args.seed)
            table = out.with_name(f'{out.stem}_{number}.npz')
            np.savez_compressed(table, points=points, features=values, labels=labels)
            print(f'Points: {table}')
            panels.append((points, labels, classes))
        embeddings, all_labels, class_names = zip(*panels)
        draw_embeddings(embeddings, all_labels, args.titles, class_names[0]).savefig(out)
        print(f'Picture: {out}')


if __name__ == '__main__':
    main()
