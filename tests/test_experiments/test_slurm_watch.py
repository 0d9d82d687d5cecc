"""What is made of a queue's answers, here without a cluster."""

from __future__ import annotations

import pytest
from toy_cluster import ShellTask

from mmdet_ols.experiments.executors import ExecutorError, slurm_watch
from mmdet_ols.experiments.executors.slurm_queue import Job
from mmdet_ols.experiments.executors.slurm_watch import Watch
from mmdet_ols.experiments.states import failure_of, note_failure


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """Watches runs, given what the queue answers one after the other; returns what is told."""

    def watch(names, *answers, patience=0.0):
        told = []

        def queued_jobs():
            if not left:
                raise KeyboardInterrupt
            answer = left.pop(0)()
            if answer is None:
                raise ExecutorError('no answer')
            return {job.id: job for job in answer}

        left = list(answers)
        monkeypatch.setattr(slurm_watch, 'queued_jobs', queued_jobs)
        tasks = [ShellTask(tmp_path / name, '') for name in names]
        for task in tasks:
            task.folder.mkdir()
        jobs = {task.folder: f'7_{index}' for index, task in enumerate(tasks)}
        watching = Watch(
            tasks,
            jobs,
            lambda event, folder, text: told.append((event, folder.name, text)),
            lambda text: told.append(('said', '', text)),
            tmp_path,
            patience,
        )
        try:
            watching.until_the_end(poll=0)
        except KeyboardInterrupt:
            told.append(('open', '', watching.alive()))
        assert [folder.name for folder in watching.failed] == [
            name for event, name, _ in told if event == 'failed'
        ]
        return told

    return watch


def job(index, state='RUNNING', reason='None'):
    return Job(f'7_{index}', state, reason, 'node1')


def test_a_job_starts_again_and_ends(watch, tmp_path):
    def done():
        (tmp_path / 'a' / 'done').touch()
        return [job(0, 'COMPLETED')]

    told = watch(
        'a',
        lambda: [job(0, 'PENDING', 'Resources')],
        lambda: [job(0)],
        lambda: [job(0)],
        lambda: None,
        lambda: [job(0, 'PENDING', 'BeginTime')],
        lambda: [job(0)],
        lambda: [job(0, 'COMPLETING')],
        done,
    )
    started = ('started', 'a', 'SLURM job 7_0 on node1')
    assert told == [started, ('running', 'a', ''), started, ('finished', 'a', '')]


def test_why_jobs_wait_is_said_once_where_a_user_can_help(watch):
    held = 'launch failed requeued held'
    waiting = [job(0, 'PENDING', held), job(1, 'PENDING', held), job(2, 'PENDING', 'Priority')]
    told = watch('abc', lambda: waiting, lambda: waiting)
    assert told == [
        ('said', '', f'SLURM job 7_0 waits: {held} (let it run: scontrol release 7_0)'),
        ('open', '', ['7_0', '7_1', '7_2']),
    ]


def test_that_nodes_are_missing_is_said_once_whichever_they_are(watch):
    told = watch('a', *(
        lambda nodes=nodes: [job(0, 'PENDING', f'ReqNodeNotAvail, UnavailableNodes:{nodes}')]
        for nodes in ('node[1-3]', 'node[1-2]')
    ))  # fmt: skip
    assert told == [
        ('said', '', 'SLURM job 7_0 waits: ReqNodeNotAvail, UnavailableNodes:node[1-3]'),
        ('open', '', ['7_0']),
    ]


def test_a_job_that_was_queued_again_to_be_held_waits_too(watch):
    held = 'job requeued in held state'
    told = watch('a', lambda: [job(0, 'COMPLETING', held)], lambda: [job(0, 'SPECIAL_EXIT', held)])
    release = 'let it run: scontrol release 7_0'
    assert told == [
        ('said', '', f'SLURM job 7_0 waits: {held} ({release})'), ('open', '', ['7_0'])
    ]  # fmt: skip


def test_a_job_that_is_gone_without_a_result_has_failed(watch, tmp_path):
    (tmp_path / '7_0_0_log.err').write_text('slurmstepd: out of memory\n')
    told = watch('ab', lambda: [job(1, 'TIMEOUT', 'TimeLimit')])
    assert [event for event, *_ in told] == ['failed', 'failed']
    assert 'SLURM job 7_0 left the queue' in told[0][2] and 'out of memory' in told[0][2]
    assert 'SLURM job 7_1 ended as TIMEOUT, reason TimeLimit' in told[1][2]
    assert failure_of(tmp_path / 'a') == told[0][2]


def test_what_a_job_has_written_may_come_later_than_its_end(watch, tmp_path):
    def noted():
        note_failure(tmp_path / 'a', 'the reason')
        return [job(0, 'FAILED')]

    told = watch('a', lambda: [job(0, 'FAILED')], lambda: [job(0, 'FAILED')], noted, patience=60)
    assert told == [('failed', 'a', 'the reason')]


def test_a_shared_disk_may_fail_for_a_moment(watch, tmp_path, monkeypatch):
    answers = iter([OSError('Stale file handle')])

    def next_command(task):
        for error in answers:
            raise error

    monkeypatch.setattr(ShellTask, 'next_command', next_command)
    over = [job(0, 'COMPLETED')]
    assert watch('a', lambda: over, lambda: over, patience=60) == [('finished', 'a', '')]


def test_a_silent_controller_ends_the_watch_but_no_run(watch, monkeypatch):
    monkeypatch.setattr(slurm_watch, 'SILENCE', 0.0)
    with pytest.raises(ExecutorError, match=r'no answer\. The jobs go on; the same command'):
        watch('a', lambda: None)
