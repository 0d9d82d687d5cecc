"""Which runs the paper's tables need: each once, with the data and entries that a user names."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from toy_plan import CONFIG, cell, finish

from mmdet_ols.experiments.evidence import EvidenceFile
from mmdet_ols.experiments.states import note_failure
from mmdet_ols.paper import cells, same_method
from mmdet_ols.reproduction import request
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.request import FILE, PaperRequest, load_request
from mmdet_ols.reproduction.scales import planned_cells
from mmdet_ols.reproduction.times import RunTimes


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'six.py'
    path.write_text(CONFIG)
    return path


def settings(plan):
    return Counter((plan.variant(f).portable_key, f.name) for f in plan.folders)


def test_no_run_of_the_paper_is_planned_twice(tmp_path):
    plan = Plan(planned_cells('paper'), [0, 1], tmp_path)
    assert len(plan.cells) == len(cells())
    assert set(settings(plan).values()) == {1}
    assert [folder.name for folder in plan.folders] == sorted(f.name for f in plan.folders)
    served = [folder for c in plan.cells for folder in plan.folders_of(c).values()]
    assert set(served) == set(plan.folders)
    hard = [c for c in plan.cells if c.cell.table in ('III', 'XI', 'VII') and c.method == 'hard']
    clean = [c for c in hard if 'resnet56_ensembles' in c.config]
    assert [c.cell.table for c in clean] == ['III', 'VII', 'XI']
    assert len({plan.folders_of(c)[0] for c in clean}) == 1
    # Fig. 7a's alpha of 0.5 is OLS as Table VIII has it, and Fig. 7b's periods have their own runs.
    by_method = {(c.cell.table, c.method): c for c in plan.cells}
    same = [by_method['VIII', 'ols'], by_method['Fig. 7a', 'ols:alpha=0.5']]
    assert plan.folders_of(same[0]) == plan.folders_of(same[1])
    assert str(tmp_path / 'resnet29_cifar10+interval=48' / 'ols' / 'seed_0') in map(
        str, plan.folders
    )


def test_every_number_of_the_paper_has_a_run(tmp_path):
    from mmdet_ols.paper import all_figures

    planned = Counter(figure for c in planned_cells('paper') for figure in c.figures)
    assert planned == Counter(figure for figure in all_figures() if not figure.source)


def test_the_small_scale_stands_for_cells_of_the_paper_and_shares_runs(tmp_path):
    small = planned_cells('small')
    assert all(c.notes and c.figures for c in small)
    assert {c.cell.table for c in small} == {'VI', 'VII', 'VIII', 'X', 'XII'}
    plan = Plan(small, [0], tmp_path)
    hard = [c for c in small if c.method == 'hard' and 'clean' in c.config]
    assert [c.cell.table for c in hard] == ['VII', 'VIII', 'XII']
    assert len({plan.folders_of(c)[0] for c in hard}) == 1
    assert set(settings(plan).values()) == {1}
    # The authors' options for the data that they are trained on, not for those of the cell.
    assert {c.method for c in small if c.method.startswith('sce')} == {'sce:alpha=0.1,beta=1.0'}


def test_what_only_one_method_has_at_the_small_scale_is_said():
    """A difference to hard labels that is not only that of the methods needs a note."""
    small = planned_cells('small')
    notes = {(c.cell.table, c.config): c.notes for c in small if c.method == 'hard'}
    different = [c for c in small if c.options or not same_method(c.method, c.cell.method)]
    for c in different:
        # Of Tf-KD's form, the page has a note because the paper leaves it open.
        assert c.notes != notes[c.cell.table, c.config] or c.cell.table == 'VI', c
    assert {c.method for c in different} == {
        'l2rw', 'sce:alpha=0.1,beta=1.0', 'tfkd_reg:form=fair,alpha=0.1',
    }  # fmt: skip
    learning_rates = {c.options: c.notes for c in different if c.options}
    assert list(learning_rates) == [('optim_wrapper.optimizer.lr=0.1',)]
    assert 'a learning rate of 0.1' in learning_rates.popitem()[1][0]


def test_unknown_scales_and_tables_are_errors():
    with pytest.raises(ValueError, match=r'`scale` must be one of \(.paper., .small.\), but got'):
        planned_cells('tiny')
    with pytest.raises(ValueError, match="scale 'small' the tables are VI, .* but got II, I"):
        planned_cells('small', ['II', 'X', 'I'])
    assert {c.cell.table for c in planned_cells('paper', ['X', 'Fig. 5'])} == {'X', 'Fig. 5'}


def test_data_and_entries_reach_the_configs_that_they_name(config, tmp_path):
    other = tmp_path / 'seven.py'
    other.write_text(CONFIG)
    asked = [cell(config, 'hard'), cell(other, 'hard', data='seven')]
    plan = Plan(
        asked,
        [0],
        tmp_path / 'runs',
        data={'seven': '/elsewhere'},
        entries={'six': ['train_dataloader.batch_size=5'], 'resnet56': ['a.b=1']},
    )
    six, seven = (plan.variant(plan.folders_of(c)[0]).cfg for c in asked)
    assert six.train_dataloader.dataset.data_root == 'data/six'
    assert seven.train_dataloader.dataset.data_root == '/elsewhere'
    assert six.train_dataloader.batch_size == 5 and seven.train_dataloader.batch_size == 4
    assert six.a.b == seven.a.b == 1  # both stand for the paper's ResNet-56
    with pytest.raises(ValueError, match='--data must name one of seven, six, but got cifar'):
        Plan(asked, [0], tmp_path, data={'cifar': '/a'})
    with pytest.raises(ValueError, match='--set must name one of .*resnet56.* but got resnet57'):
        Plan(asked, [0], tmp_path, entries={'resnet57': ['a=1']})


def test_configs_of_one_name_and_other_tests_have_folders_of_their_own(config, tmp_path):
    other = tmp_path / 'other' / 'six.py'
    other.parent.mkdir()
    other.write_text(CONFIG.replace('depth=8', 'depth=14'))
    asked = [cell(config, 'hard'), cell(other, 'hard'), cell(config, 'hard', tta=True)]
    plan = Plan(asked, [0], tmp_path / 'runs')
    folders = [plan.folders_of(c)[0] for c in asked]
    assert [folder.parents[1].name for folder in folders] == ['six', 'six_', 'six__']
    assert [plan.variant(f).cfg.model.backbone.depth for f in folders] == [8, 14, 8]
    assert [plan.experiment(f).tta for f in folders] == [False, False, True]


def test_folders_have_the_names_and_values_of_options(config, tmp_path):
    options = ('optim_wrapper.optimizer.lr=0.1', 'load_from=data/weights.pth')
    plan = Plan([cell(config, 'hard', options=options)], [0], tmp_path)
    (folder,) = plan.folders
    assert folder == tmp_path / 'six+lr=0.1+load_from=data_weights.pth' / 'hard' / 'seed_0'


def test_what_cannot_run_is_said_and_the_others_go_on(config, tmp_path, monkeypatch):
    from mmdet_ols.experiments import experiment

    other = tmp_path / 'seven.py'
    other.write_text(CONFIG)
    asked = [cell(config, 'hard'), cell(other, 'hard', data='seven')]
    plan = Plan(asked, [0], tmp_path / 'runs', data={'seven': '/elsewhere'})

    def check_ready(configs, strict, tta):
        for name, cfg in configs:
            if cfg.data_root == '/elsewhere':
                raise ValueError(f'{name}: no data')

    monkeypatch.setattr(experiment, 'check_ready', check_ready)
    assert plan.check() == {'seven': 'hard: no data'}
    folder = plan.folders_of(asked[1])[0]
    assert plan.state(folder).name == 'waiting' and plan.blocked == {'seven': 'hard: no data'}
    assert [task.folder for task in plan.tasks()] == [plan.folders_of(asked[0])[0]]
    assert plan.tasks()[0].label == 'hard seed 0' and 'six hard' in plan.label(plan.folders[0])
    # The data are there now.
    there = Plan(asked, [0], tmp_path / 'runs')
    assert there.check() == {} and len(there.tasks()) == 2


def test_rows_count_as_runs_wherever_they_were_made(config, tmp_path):
    asked = [cell(config, 'hard'), cell(config, 'ols')]
    here = Plan(asked, [0, 1], tmp_path / 'here', evidence=EvidenceFile(tmp_path / 'here.csv'))
    folder = here.folders_of(asked[0])[0]
    finish(folder, 50.0, 60.0, minutes=3)
    assert here.experiment(folder).keep(folder) == ''
    others = [tmp_path / 'here.csv']
    file = EvidenceFile(tmp_path / 'there.csv', others)
    there = Plan(asked, [0, 1], tmp_path / 'there', evidence=file)
    done = there.folders_of(asked[0])[0]
    assert there.read(done).final == {'accuracy/top1': 60.0} and there.is_finished(done)
    assert len(there.tasks()) == 3 and there.state(done).name == 'finished'
    assert there.made(done)[0]['read from'] == str(tmp_path / 'here.csv')
    finish(done, 50.0, 60.0)  # run there as well: its row stays where it is
    assert there.experiment(done).keep(done) == '' and not (tmp_path / 'there.csv').exists()


def test_finished_runs_of_another_config_are_not_those_that_are_asked_for(config, tmp_path):
    """An entry that is added later leaves the folders of the runs as they are called."""

    def planned(*entries):
        rows = EvidenceFile(tmp_path / 'runs.csv')
        return Plan([cell(config, 'hard')], [0], tmp_path, entries={'six': entries}, evidence=rows)

    before, after = planned(), planned('optim_wrapper.optimizer.lr=0.5')
    (folder,) = before.folders
    cfg = before.variant(folder).cfg.copy()
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=0)
    finish(folder, 50.0, 60.0, cfg=cfg)
    assert after.folders == [folder] and before.check() == {}
    assert 'was made with another config' in after.check()['six']
    assert 'was made with another config' in after.keep(folder)
    assert not (tmp_path / 'runs.csv').exists()
    assert before.keep(folder) == '' and (tmp_path / 'runs.csv').exists()


def test_times_come_from_what_is_nearest(config, tmp_path):
    other = tmp_path / 'seven.py'
    other.write_text(CONFIG.replace('depth=8', 'depth=14'))
    asked = [cell(config, 'hard'), cell(config, 'ols'), cell(other, 'hard'), cell(other, 'ols')]
    plan = Plan(asked, [0, 1], tmp_path / 'runs')
    hard, ols, deep, deep_ols = (plan.folders_of(c) for c in asked)
    finish(hard[0], 50.0, 60.0, minutes=4)
    finish(deep[1], 50.0, minutes=6)  # of two epochs, in six minutes
    times = RunTimes(plan)
    assert [times.left(f) for f in (hard[0], hard[1], ols[0])] == [0, 240, 240]
    assert times.left(deep[1]) == 360 and times.left(deep[0]) is None
    assert times.total_left([hard[1], ols[0], deep_ols[0]]) == (480, 1)
    finish(ols[1], 50.0, 60.0, minutes=8)
    times = RunTimes(plan)
    assert [times.left(hard[1]), times.left(ols[0])] == [240, 480]


def test_states_are_read_from_the_folders(config, tmp_path):
    plan = Plan([cell(config, 'hard')], [0], tmp_path / 'runs')
    (folder,) = plan.folders
    assert plan.state(folder) == ('waiting', '')
    note_failure(folder, 'exit status 1\nout of memory')
    assert plan.state(folder) == ('failed', 'exit status 1\nout of memory')
    finish(folder, 50.0, 60.0)
    assert plan.state(folder).name == 'finished'


def test_a_request_is_kept_and_changed(tmp_path):
    assert load_request(tmp_path) is None
    first = PaperRequest('small', ('VI',), (0, 1), {'cars': '/a'}, {'x': ('a=1', 'b=2')})
    first.save(tmp_path)
    read = load_request(tmp_path)
    assert read == PaperRequest('small', ('VI',), (0, 1), {'cars': '/a'}, {'x': ['a=1', 'b=2']})
    changed = read.changed({'seeds': [3], 'tables': None, 'jobs': 2})
    assert changed.seeds == [3] and changed.tables == ('VI',)
    more = read.changed({'data': {'cub': '/b'}, 'entries': {'x': ('a=2',)}})
    assert more.data == {'cars': '/a', 'cub': '/b'} and more.entries == {'x': ('a=2',)}
    (tmp_path / FILE).write_text(json.dumps({'colour': 'red'}))
    with pytest.raises(ValueError, match='request.json must be the request .* Remove it'):
        load_request(tmp_path)


def test_what_was_said_of_other_tables_is_kept(config, tmp_path, monkeypatch):
    asked = [cell(config, 'hard'), cell(config, 'ols', data='seven')]
    monkeypatch.setattr(
        request, 'planned_cells', lambda scale, tables, choices: asked[: len(tables) or None]
    )
    said = {'data': {'seven': str(tmp_path)}, 'tables': ('VII',), 'seeds': (0,)}
    (folder,) = PaperRequest().changed(said).plan(tmp_path).folders
    assert folder.parents[1].name == 'six'
    said['data'] = {'eight': str(tmp_path)}
    with pytest.raises(ValueError, match='--data must name one of .*, but got eight'):
        PaperRequest().changed(said).plan(tmp_path)


def test_choices_change_what_is_trained_for_the_same_cells(tmp_path):
    plain = planned_cells('paper', ['XI', 'VI'])
    chosen = planned_cells('paper', ['XI', 'VI'], {'block': 'basic', 'flowers': '1020'})
    assert [(c.cell, c.figures) for c in chosen] == [(c.cell, c.figures) for c in plain]
    basic = next(c for c in chosen if c.cell.table == 'XI')
    assert 'model.backbone.block=basic' in basic.options
    flowers = {c.config for c in chosen if 'flowers' in c.config}
    assert flowers and all(config.endswith('_flowers_1020.py') for config in flowers)
    plan = Plan([basic], [0], tmp_path)
    assert plan.variant(plan.folders[0]).cfg.model.backbone.block == 'basic'
    assert (
        plan.folders[0].parents[1].name == 'resnet56_ensembles_cifar100+block=basic+in_channels=64'
    )
    with pytest.raises(ValueError, match='`block`, .* must be one of bottleneck, basic, but got'):
        planned_cells('paper', ['II'], {'block': 'wide'})
    with pytest.raises(ValueError, match='Choices are for .* leave block out'):
        planned_cells('small', (), {'block': 'basic'})
