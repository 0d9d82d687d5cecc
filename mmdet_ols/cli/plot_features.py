"""Draw the features before the last layer of classifiers, by t-SNE, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import Config, DictAction
from rich.console import Console

from mmdet_ols.analysis.features import draw_embeddings, embed, read_features
from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.cli.options import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        'networks', nargs='+', metavar='CONFIG CHECKPOINT', help='one panel for each such pair'
    )
    parser.add_argument('--titles', nargs='+', metavar='TITLE', help='of the panels (CONFIG)')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='test')
    parser.add_argument(
        '--max-samples', type=int, default=10000, help='evenly spaced over the data; 0 takes all'
    )
    parser.add_argument('--perplexity', type=float, default=30.0, help='of t-SNE')
    parser.add_argument('--seed', type=int, default=0, help='of t-SNE')
    parser.add_argument(
        '--out', default='features.png', help='the picture; the points lie beside it as .npz'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of all configs',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than data; they can run code on this machine',
    )
    args = parser.parse_args()
    args.pairs = list(zip(args.networks[::2], args.networks[1::2]))
    if len(args.networks) % 2:
        parser.error(f'name a CHECKPOINT for each CONFIG, but got {" ".join(args.networks)}')
    args.titles = args.titles or [Path(config).stem for config, _ in args.pairs]
    if len(args.titles) != len(args.pairs):
        parser.error(f'--titles takes {len(args.pairs)} titles, but got {args.titles}')
    return args


def main() -> None:
    args = parse_args()
    with user_errors(), loading_rules(args.trust_checkpoint):
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        embeddings, features = [], []
        for number, (config, checkpoint) in enumerate(args.pairs, 1):
            cfg = Config.fromfile(config)
            cfg.merge_from_dict(args.cfg_options or {})
            found = read_features(cfg, checkpoint, args.split, args.max_samples)
            with Console().status(f't-SNE of {len(found.labels)} images'):
                points = embed(found.values, args.perplexity, args.seed)
            kept = out.with_name(f'{out.stem}_{number}.npz')
            np.savez_compressed(kept, points=points, features=found.values, labels=found.labels)
            print(f'Points: {kept}')
            embeddings.append(points)
            features.append(found)
        draw_embeddings(embeddings, features, args.titles).savefig(out)
        print(f'Picture: {out}')


if __name__ == '__main__':
    main()
