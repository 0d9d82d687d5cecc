"""A row of a file of finished runs."""

from __future__ import annotations

from mmdet_ols.experiments.evidence import EvidenceRow

ROW = EvidenceRow(
    settings='0123456789abcdef',
    base='fedcba9876543210',
    name='ols_alpha0.3',
    method='ols:alpha=0.3',
    config='configs/a.py',
    options='optim_wrapper.optimizer.lr=0.1 "a b"',
    test='plain',
    seed=0,
    length='20 epochs',
    seconds=61,
    commit='3faf0b2-dirty',
    machine='AMD EPYC, 1 of 2 cores',
    torch='2.11.0',
    date='2026-11-26',
    best_by='accuracy/top1',
    best_epoch=15,
    metrics={'accuracy/top1': 76.818634, 'train/top1_error': 1.25},
    best={'accuracy/top1': 77.5},
)
