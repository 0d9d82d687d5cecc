#!/usr/bin/env python
"""Pack the images and labels of a classification config into one small file.

    python benchmarks/pack_images.py configs/fine_grained/mobilenetv2_cars_small.py --webp 45 \
        --out data/packed/cars.zip
    python benchmarks/pack_images.py configs/cifar10/resnet18_worst_cifar10n.py \
        --out data/packed/cifar10n.zip

`plain_comparison.py` trains from such a file, on a machine that has PyTorch and Pillow only. The
images keep their files' bytes, unless `--webp QUALITY` encodes them again; either way the bytes of
all images are compressed together. Stanford Cars at 144 pixels take 22 MB, CIFAR-10 takes 19 MB.
Labels are those of the training, and where the data set knows the true ones (CIFAR-10N), these too.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from PIL import Image
from rich.progress import track

from mmdet_ols.analysis.split_data import split_datasets
from mmdet_ols.cli.options import add_config_options, user_errors
from mmdet_ols.engine.run_config import read_config

SPLITS = ('train', 'test')


def pack_split(archive: zipfile.ZipFile, cfg: Config, split: str, quality: int | None) -> int:
    """Add the images and labels of a split, without what augments or repeats them.

    Args:
        archive: What they are added to.
        cfg: Config of MMPretrain whose images are files.
        split: 'train' or 'test'.
        quality: Of WebP, from 0 to 100; None keeps the files as they are.

    Returns:
        How many images there are.

    Raises:
        ValueError: The images are no files.
    """
    files: list[bytes] = []
    labels: list[int] = []
    clean: list[int] = []
    for dataset in split_datasets(cfg, split, pipeline=[]):
        for index in track(range(len(dataset)), f'Packing the {split} images', transient=True):
            info = dataset.get_data_info(index)
            if 'img_path' not in info:
                raise ValueError(
                    f'The {split} images must be files, but {type(dataset).__name__} holds arrays: '
                    'name the config of a folder.'
                )
            files.append(_encoded(Path(info['img_path']), quality))
            labels.append(int(info['gt_label']))
        own = getattr(dataset, 'clean_labels', labels[len(clean) :])
        clean += [int(label) for label in own]
    told = dict(sizes=[len(file) for file in files], labels=labels, clean=clean)
    archive.writestr(f'{split}.bin', b''.join(files))
    archive.writestr(f'{split}.json', json.dumps(told))
    return len(files)


def _encoded(path: Path, quality: int | None) -> bytes:
    if quality is None:
        return path.read_bytes()
    content = io.BytesIO()
    Image.open(path).convert('RGB').save(content, 'WEBP', quality=quality, method=6)
    return content.getvalue()


def main(words: Sequence[str] | None = None) -> None:
    first, _, rest = str(__doc__).partition('\n')
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG')
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.zip')
    parser.add_argument('--webp', type=int, metavar='QUALITY', help='re-encode images, 0 to 100')
    add_config_options(parser)
    args = parser.parse_args(words)
    with user_errors():
        cfg = read_config(args.config, options=args.cfg_options, data_root=args.data_root)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(args.out, 'w', zipfile.ZIP_LZMA) as archive:
            counts = {split: pack_split(archive, cfg, split, args.webp) for split in SPLITS}
    listed = ', '.join(f'{count} to {split}' for split, count in counts.items())
    print(f'{args.out}: {listed}, {args.out.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
