"""A stand-in for `mmdet_ols.methods`: three methods of one head with a cross entropy."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import NamedTuple

OURS = {'ols': 'OLSLoss', 'ls': 'LSLoss'}


class Spec(NamedTuple):
    text: str

    @property
    def slug(self):
        return re.sub(r'[:,]', '_', self.text).replace('=', '')


def parse_method(text):
    name, _, options = text.partition(':')
    if name not in ('hard', *OURS):
        raise ValueError(f'A method must be known, but got {name!r}.')
    return Spec(text)


def apply_method(cfg, method, **options):
    cfg = deepcopy(cfg)
    name, _, given = parse_method(method).text.partition(':')
    options.update(pair.split('=') for pair in given.split(',') if pair)
    head = cfg.model.get('head') or cfg.model.bbox_head
    if head.type == 'UnknownHead':
        raise ValueError('UnknownHead is not known.')
    key = 'loss' if 'head' in cfg.model else 'loss_cls'
    (cfg.get('default_hooks') or {}).pop('ols', None)
    loss = dict(type='CrossEntropyLoss')
    if name in OURS:
        values = {option: float(value) for option, value in options.items()}
        loss = dict(type=OURS[name], num_classes=head.num_classes, **values)
        cfg.custom_imports = dict(imports=['mmdet_ols'])
    if name == 'ols':
        cfg.merge_from_dict({'default_hooks.ols': dict(type='OLSHook')})
    head[key] = loss
    cfg.applied_method = method
    return cfg
