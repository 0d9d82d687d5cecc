"""Runs that learn from another run of the comparison: their order, and what each is told."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from test_experiments.test_recording import CONFIG, TOP1
from toy_runs import checkpoint, make_start, trained

from mmdet_ols.experiments.evidence import EvidenceFile
from mmdet_ols.experiments.executors import WaitsForAnotherRun
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.requested_rows import with_needed_rows
from mmdet_ols.experiments.specification import Request, read_variants
from mmdet_ols.methods import parse_method


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'six.py'
    path.write_text(CONFIG)
    return path


def experiment(config, work_dir, seeds=(0, 1), method='tfkd_self', evidence=None):
    rows = with_needed_rows([Request('pupil', str(config), method)])
    file = EvidenceFile(evidence) if evidence else None
    return Experiment(read_variants(rows), seeds, work_dir, evidence=file)


def finish(folder, cfg=None, epochs=3):
    """What a run leaves behind that is over."""
    scores = {TOP1: 50.0, 'accuracy/top5': 60.0}
    lines = [line for n in range(1, epochs + 1) for line in (trained(n), {**scores, 'step': n})]
    make_start(folder, '20260101_000000', lines, '2026/01/01 00:01:00', cfg)
    (folder / f'epoch_{epochs}.pth').touch()
    checkpoint(folder, f'epoch_{epochs}.pth')


def method_in(command):
    return command[command.index('--method') + 1]


def test_a_pupil_waits_for_the_teacher_of_its_seed_and_is_told_its_checkpoint(config, tmp_path):
    ours = experiment(config, tmp_path / 'runs + more')
    pupils, teachers = ours.folders[::2], ours.folders[1::2]
    assert [folder.parent.name for folder in ours.folders] == ['pupil', 'hard'] * 2
    for folder in pupils:
        with pytest.raises(WaitsForAnotherRun, match=r'it learns from hard seed \d, .*\(3\)'):
            ours.tasks[folder].next_command()
    assert method_in(ours.tasks[teachers[1]].next_command()) == 'hard'
    finish(teachers[1])
    assert ours.tasks[teachers[1]].next_command() is None
    with pytest.raises(WaitsForAnotherRun):
        ours.tasks[pupils[0]].next_command()
    told = method_in(ours.tasks[pupils[1]].next_command())
    assert parse_method(told).parts == (
        ('tfkd_self', dict(teacher=str(teachers[1] / 'epoch_3.pth'))),
    )
    finish(teachers[0], epochs=2)  # not the last epoch's
    with pytest.raises(WaitsForAnotherRun):
        ours.tasks[pupils[0]].next_command()


def test_options_and_combinations_stay_as_they_are(config, tmp_path):
    ours = experiment(config, tmp_path / 'runs', [0], 'tfkd_self:form=fair')
    finish(ours.folders[1])
    (part,) = parse_method(method_in(ours.tasks[ours.folders[0]].next_command())).parts
    assert part[1] == dict(teacher=str(ours.folders[1] / 'epoch_3.pth'), form='fair')
    named = experiment(config, tmp_path / 'named', [0], 'tfkd_self:teacher=mine.pth')
    assert len(named.folders) == 1
    assert method_in(named.tasks[named.folders[0]].next_command()) == 'tfkd_self:teacher=mine.pth'


def test_a_folder_may_name_the_teacher_and_nothing_else(config, tmp_path):
    ours = experiment(config, tmp_path / 'runs', [0])
    cfg = Config(ours.variants[0].cfg.to_dict())
    cfg.model.teacher = 'runs/hard/seed_0/epoch_3.pth'
    cfg.randomness = dict(seed=0)
    finish(ours.folders[0], cfg)
    with pytest.raises(ValueError, match='six'):  # no data: its config is that of its folder
        ours.check()
    other = experiment(config, tmp_path / 'runs', [0], 'tfkd_self:temperature=5')
    with pytest.raises(ValueError, match=r'made with another config:(?s:.*)temperature: 6'):
        other.check()


def test_a_row_has_no_checkpoint_to_learn_from(config, tmp_path):
    rows = tmp_path / 'rows.csv'
    before = experiment(config, tmp_path / 'before', [0], evidence=rows)
    for folder in before.folders:
        finish(folder, before.runs[folder][0].cfg)
    assert before.keep(before.folders[1]) == ''
    after = experiment(config, tmp_path / 'after', [0], evidence=rows)
    pupil, teacher = after.folders
    assert method_in(after.tasks[teacher].next_command()) == 'hard'  # trained again for the pupil
    before.keep(before.folders[0])
    assert after.read(pupil).final and after.read(teacher).final


def test_the_key_of_a_pupil_is_the_same_wherever_its_teacher_lies(config, tmp_path):
    methods = [f'tfkd_self:teacher={place}/epoch_3.pth' for place in ('/here', '/there/seed_1')]
    keys = [
        read_variants([Request('a', str(config), method)])[0].portable_key for method in methods
    ]
    assert keys[0] == keys[1]
    defaults = 'tfkd_self:teacher=/x/epoch_3.pth,temperature=6.0'  # what it would be anyway
    assert read_variants([Request('a', str(config), defaults)])[0].portable_key == keys[0]


def test_a_teacher_that_no_row_trains_is_an_error(config, tmp_path):
    variants = read_variants([Request('pupil', str(config), 'tfkd_self')])
    with pytest.raises(ValueError, match=r'pupil needs .*--method hard.*teacher=FILE'):
        Experiment(variants, [0], tmp_path)
