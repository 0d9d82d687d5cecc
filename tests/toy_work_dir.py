"""Work directories as MMEngine leaves them, written by hand, and a reader of HTML pages."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

CONFIG = """
model = dict(type='Net', head=dict(loss=dict(type='OLSLoss', num_classes=3)))
train_dataloader = dict(batch_size=7, dataset=dict(data_root='some/data'))
train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.5))
"""


def start(work_dir, stamp, lines, config=CONFIG):
    """What MMEngine leaves of one start of a training."""
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    for name in ('scalars.json', f'{stamp}.json'):
        (folder / name).write_text(text)
    (folder / 'config.py').write_text(config)


def make_test(work_dir, stamp):
    """What MMEngine leaves of a test."""
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text('model = None')
    (work_dir / stamp / f'{stamp}.json').write_text('{"pascal_voc/mAP": 0.9}')


def step(epoch, iteration, **values):
    return dict(values, epoch=epoch, iter=iteration, step=iteration)


def epoch_end(epoch, mean):
    return [
        {'ols/head.loss/correct_share': mean, 'step': epoch},
        {'pascal_voc/mAP': mean, 'pascal_voc/AP/plain': mean / 2, 'time': 1.0, 'step': epoch},
    ]


class Reader(HTMLParser):
    """The text that a reader sees, the attributes by tag, and the tags that were left open."""

    VOID = {'meta', 'img', 'br', 'link', 'input'}

    def __init__(self, page):
        super().__init__()
        self.text, self.attributes, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ['style'] and data.strip():
            self.text.append(data.strip())


def assert_self_contained(page):
    reader = Reader(page)
    assert reader.open == []
    assert not {'script', 'link', 'iframe', 'object'} & {tag for tag, *_ in reader.attributes}
    for _, name, value in reader.attributes:
        if name in ('src', 'href', 'xlink:href', 'srcset', 'data', 'action'):
            assert value.startswith(('#', 'data:image/')), value
        if name.startswith('on'):
            pytest.fail(f'a script in {name}')
    assert not re.search(r'@import|url\((?!#)', page)
    identifiers = [value for _, name, value in reader.attributes if name == 'id']
    assert len(set(identifiers)) == len(identifiers)
    for _, name, value in reader.attributes:
        if name in ('href', 'xlink:href') and value.startswith('#'):
            assert value[1:] in identifiers
    return reader
