"""Run folders as MMEngine leaves them, for tests that read them."""

from __future__ import annotations

import json

MAP = 'pascal_voc/mAP'


def make_start(run, stamp, lines, end=None, cfg=None):
    """One start of a training; `lines` are its scalars."""
    folder = run / stamp / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / f'{stamp}.json').write_text(text)
    if end:
        (run / stamp / f'{stamp}.log').write_text(f'System\n{end} - mmengine - INFO - done\n')
    if cfg:
        cfg.dump(folder / 'config.py')


def make_scalars(run, stamp, lines):
    path = run / stamp / 'vis_data' / 'scalars.json'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def trained(epoch, step=None):
    return {'loss': 1.0, 'epoch': epoch, 'iter': step or 10 * epoch, 'step': step or 10 * epoch}


def validated(epoch, value, **more):
    return {MAP: value, **more, 'data_time': 0.1, 'time': 0.2, 'step': epoch}


def checkpoint(run, name):
    (run / 'last_checkpoint').write_text(f'/where/it/was/made/{name}')
