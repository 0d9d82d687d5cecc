"""What a job does on its node, here without a cluster."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from pathlib import Path

import pytest
from toy_cluster import ShellTask

from mmdet_ols.experiments.executors import ExecutorError, slurm, slurm_job, slurm_watch
from mmdet_ols.experiments.executors.slurm import SlurmExecutor
from mmdet_ols.experiments.executors.slurm_job import MAX_FRUITLESS, RunFailed, RunInJob
from mmdet_ols.experiments.executors.slurm_options import SlurmOptions
from mmdet_ols.experiments.executors.slurm_queue import Job
from mmdet_ols.experiments.executors.slurm_watch import key_of
from mmdet_ols.experiments.states import LOG, failure_of, is_locked, locked_log, note_failure

TESTS = os.getpid()


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a job sets for itself must not stay in the process of the tests."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(os, 'environ', os.environ.copy())
    monkeypatch.setattr(slurm_job, 'SIGNALLING', 0.2)
    monkeypatch.setattr(slurm_job, 'LOOK', 0.02)
    yield
    signal.signal(signal.SIGTERM, handler)


def note_start(task):
    when = 'too late' if (task.folder / 'starts').exists() else 'in time'
    where = 'here' if os.getpid() == TESTS else 'elsewhere'
    (task.folder / 'noted').write_text(f'{when}, {where}')


def test_a_job_executes_a_run_until_it_is_finished(tmp_path):
    note_failure(tmp_path / 'run', 'an earlier attempt')
    task = ShellTask(tmp_path / 'run', 'echo "said [$CUDA_VISIBLE_DEVICES]"; touch done')
    job = RunInJob(task, note_start, cpu_only=True)
    pickle.loads(pickle.dumps(job))()  # as submitit hands it on
    assert task.next_command() is None and not failure_of(task.folder)
    assert (task.folder / 'noted').read_text() == 'in time, elsewhere'
    assert '\nsaid []\n' in (task.folder / 'compare.log').read_text()


def test_a_run_uses_the_cores_of_its_job_where_nothing_binds_it_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(64)))
    os.environ.pop('OMP_NUM_THREADS', None)
    os.environ['SLURM_CPUS_ON_NODE'] = '3'
    task = ShellTask(tmp_path / 'run', 'echo "with $OMP_NUM_THREADS threads"; touch done')
    RunInJob(task)()
    assert '\nwith 3 threads\n' in (task.folder / LOG).read_text()


@pytest.mark.parametrize(
    ('line', 'why'),
    [
        ('echo the reason; exit 3', 'exit status 3\n(.*\n)*the reason'),
        ('true', 'ended before its time and without an error'),
        ('kill -9 $$', 'exit status -9: killed, as .* when memory runs out\n'),
    ],
)
def test_a_run_that_fails_says_so_in_its_folder_and_fails_the_job(tmp_path, line, why):
    task = ShellTask(tmp_path / 'run', line)
    with pytest.raises(RunFailed, match=why):
        RunInJob(task)()
    assert failure_of(task.folder) and not is_locked(task.folder / LOG)


def test_a_run_that_another_process_executes_is_waited_for(tmp_path):
    task = ShellTask(tmp_path / 'run', 'touch twice done')
    log = locked_log(task.folder)

    def finish():
        time.sleep(0.2)
        (task.folder / 'done').touch()
        log.close()

    other = threading.Thread(target=finish)
    other.start()
    RunInJob(task)()
    other.join()
    assert not (task.folder / 'twice').exists()


def test_a_job_that_is_ended_together_with_its_run_is_no_failure(tmp_path):
    """The scheduler signals all processes of a job, and the training may be the first to end."""
    task = ShellTask(tmp_path / 'run', f'kill -TERM {os.getpid()}; kill -TERM $$')
    job = RunInJob(task)

    def kill(number, frame):
        raise KeyboardInterrupt  # takes the place of the end of this process

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, 2)  # later than the patience with a child's end
    try:
        with pytest.raises(KeyboardInterrupt):
            job()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert not failure_of(task.folder)


def test_what_is_queued_again_in_vain_is_given_up(tmp_path):
    pytest.importorskip('submitit')
    task = ShellTask(tmp_path, 'sleep 60')
    job = RunInJob(task)
    job._before = job._progress()
    for _ in range(MAX_FRUITLESS - 1):
        job = job.checkpoint().function
        job._before = job._progress()
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')  # in time
    job = job.checkpoint().function
    for fruitless in range(1, MAX_FRUITLESS):
        job._before = job._progress()
        job = job.checkpoint().function
        assert job.fruitless == fruitless
    job._before = job._progress()
    assert job.checkpoint() is None
    assert 'longer time limit' in failure_of(tmp_path)


def test_a_submission_that_was_cut_short_is_passed_over(tmp_path):
    pytest.importorskip('submitit')
    from submitit.helpers import DelayedSubmission

    task = ShellTask(tmp_path / 'run', 'true')
    whole, cut = (tmp_path / f'{number}_0_submitted.pkl' for number in (1, 2))
    DelayedSubmission(RunInJob(task)).dump(whole)
    cut.write_bytes(whole.read_bytes()[:-5])
    assert SlurmExecutor(tmp_path, SlurmOptions(60))._submitted() == {task.folder: '1_0'}


def test_a_submission_is_known_wherever_the_next_command_is_started(tmp_path, monkeypatch):
    """Also by a command that names the folder from another place."""
    pytest.importorskip('submitit')
    from submitit.helpers import DelayedSubmission

    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path)
    job = RunInJob(ShellTask(Path('run'), 'true'))
    DelayedSubmission(job).dump(tmp_path / '1_0_submitted.pkl')
    monkeypatch.chdir(tmp_path / 'elsewhere')
    submitted = SlurmExecutor('..', SlurmOptions(60))._submitted()
    assert submitted == {tmp_path / 'run': '1_0'}
    assert key_of(ShellTask(Path('../run'), 'true')) in submitted


def test_jobs_are_watched_though_no_new_one_would_be_accepted(tmp_path, monkeypatch):
    """A partition is drained before a maintenance, or the user may submit no more jobs."""
    pytest.importorskip('submitit')
    from submitit.helpers import DelayedSubmission

    def refuse(flags):
        raise ExecutorError('the partition is drained')

    def queued_jobs():
        (tmp_path / 'run' / 'done').touch()
        return {'1_0': Job('1_0', 'RUNNING', 'None', 'node1')}

    (tmp_path / 'run').mkdir()
    task = ShellTask(tmp_path / 'run', 'true')
    DelayedSubmission(RunInJob(task)).dump(tmp_path / '1_0_submitted.pkl')
    monkeypatch.setattr(slurm, 'check_available', lambda: None)
    monkeypatch.setattr(slurm, 'check_accepted', refuse)
    monkeypatch.setattr(slurm, 'queued_jobs', queued_jobs)
    monkeypatch.setattr(slurm_watch, 'queued_jobs', dict)
    said = []
    executor = SlurmExecutor(tmp_path, SlurmOptions(60), say=said.append, poll=0)
    assert executor.run([task]) == {} and said == ['1 runs have jobs already: 1']
    with pytest.raises(ExecutorError, match='drained'):
        executor.run([ShellTask(tmp_path / 'new', 'true')])
