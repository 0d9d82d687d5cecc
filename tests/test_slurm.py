"""Runs as jobs of a real SLURM on this machine, which `.ci/run` installs and insists on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from one_node_cluster import installed, one_node_cluster
from toy_lenet import write_lenet

from mmdet_ols.cli import compare, executor_options
from mmdet_ols.experiments.executors import ExecutorError
from mmdet_ols.experiments.executors.slurm import SlurmExecutor
from mmdet_ols.experiments.executors.slurm_options import SlurmOptions
from mmdet_ols.experiments.executors.slurm_queue import queued_jobs
from mmdet_ols.experiments.provenance import read_records
from mmdet_ols.experiments.states import LOG

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(900)  # a busy machine starts processes slowly

if not os.environ.get('REQUIRE_SLURM'):
    pytest.importorskip('submitit')
    if not installed():
        pytest.skip('SLURM and munge are not installed', allow_module_level=True)

#: The first time it waits to be stopped, the second time it goes on.
TWICE = '[ -e been ] && touch done && exit; touch been; sleep 300'
#: What starts first has to be stopped in the middle.
RUNS = {
    'preempted': TWICE,
    'out_of_time': TWICE,
    'teacher': 'sleep 1; touch done',
    'pupil': ['teacher', 'touch done'],
    'broken': 'echo the reason; exit 3',
    'pupil_of_broken': ['broken', 'touch done'],
    'full': 'head -c 1000000 /dev/zero > weights && touch done',
    'cancelled': 'touch been; sleep 300',
    'one': 'echo "[$CUDA_VISIBLE_DEVICES] $OMP_NUM_THREADS" > share; touch done',
    'two': 'touch done',
}
FAILED = ('broken', 'cancelled', 'full', 'pupil_of_broken')


@pytest.fixture(scope='module')
def cluster():
    with one_node_cluster() as env:
        paths = [str(ROOT), str(ROOT / 'tests'), env.get('PYTHONPATH', '')]
        variables = {**env, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
        yield {**variables, 'OMP_NUM_THREADS': '1'}


@pytest.fixture
def at_cluster(cluster, monkeypatch):
    for name in ('SLURM_CONF', 'PYTHONPATH', 'OMP_NUM_THREADS'):
        monkeypatch.setenv(name, cluster[name])


def start(cluster, *words):
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=cluster,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def starter(cluster, folder, *words):
    return start(cluster, 'tests/toy_cluster.py', folder, 2, *words)


def events_of(process, status=0):
    """What a starter has printed until its end."""
    output = process.communicate(timeout=300)[0]
    assert process.returncode == status, output
    return [json.loads(line) for line in output.splitlines() if line.startswith('[')]


def wait_for(condition):
    for _ in range(3000):
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError('waited in vain')


@contextmanager
def tiny_disk(folder):
    """A folder on a file system with room for a few kB, where this process may make one."""
    folder.mkdir()
    options = ['-t', 'tmpfs', '-o', 'size=32k', 'tmpfs', str(folder)]
    if subprocess.run(['mount', *options], capture_output=True).returncode:
        (folder / 'weights').symlink_to('/dev/full')
        yield
        return
    try:
        yield
    finally:
        subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_ten_runs_two_at_once_survive_what_happens_on_clusters(cluster, at_cluster, tmp_path):
    (tmp_path / 'tasks.json').write_text(json.dumps(RUNS))
    with tiny_disk(tmp_path / 'full'):
        (said,) = events_of(starter(cluster, tmp_path, 'dies'), -signal.SIGKILL)
        (array,) = re.findall(r'10 runs submitted as SLURM jobs: (\d+)', said[2])
        first = starter(cluster, tmp_path)
        been = [tmp_path / name / 'been' for name in ('preempted', 'out_of_time')]
        wait_for(lambda: all(path.exists() for path in been))
        states = Counter(job.state for job in queued_jobs().values())
        assert states == {'RUNNING': 2, 'PENDING': 8}
        first.kill()
        (said, *started) = events_of(first, -signal.SIGKILL)
        assert said[2] == f'10 runs have jobs already: {array}'
        assert started == [
            ['started', 'preempted', f'SLURM job {array}_0 on {hostname()}'],
            ['started', 'out_of_time', f'SLURM job {array}_1 on {hostname()}'],
        ]
        second, third = (starter(cluster, tmp_path) for _ in range(2))
        subprocess.run(['scontrol', 'requeue', f'{array}_0'], check=True)
        subprocess.run(['scancel', '--signal=USR2', f'{array}_1'], check=True)
        assert json.loads(second.stdout.readline())[2] == f'10 runs have jobs already: {array}'
        second.send_signal(signal.SIGTERM)  # SIGINT is ignored where tests run in the background
        farewell = events_of(second, 130)[-1][2]
        assert re.search(rf'\d+ jobs go on\. The same command .* scancel {array}$', farewell)
        wait_for((tmp_path / 'cancelled' / 'been').exists)
        at_once = []

        def over():
            at_once.append(sum(job.running for job in queued_jobs().values()))
            return third.poll() is not None

        wait_for(lambda: over() or max(at_once) == 2)
        subprocess.run(['scancel', f'{array}_{list(RUNS).index("cancelled")}'], check=True)
        wait_for(over)
        assert max(at_once) == 2
        check_events(events_of(third), array)
        starts = {name: path.read_text().count('start') for name in RUNS
                  if (path := tmp_path / name / 'starts').exists()}  # fmt: skip
    assert (tmp_path / 'one' / 'share').read_text() == '[] 1\n'
    stopped = ('preempted', 'out_of_time')
    assert starts == {
        name: 2 if name in stopped else 1 for name in RUNS if name != 'pupil_of_broken'
    }


def check_events(events, array):
    assert events[0] == ['said', '', f'10 runs have jobs already: {array}']
    assert events[-1] == ['end', '', list(FAILED)]
    ends = {name: (event, text) for event, name, text in events if event in ('finished', 'failed')}
    assert {name: event for name, (event, _) in ends.items()} == {
        name: 'failed' if name in FAILED else 'finished' for name in RUNS
    }
    assert 'exit status 3' in ends['broken'][1] and 'the reason' in ends['broken'][1]
    assert 'No space left on device' in ends['full'][1]
    assert 'it learns from broken' in ends['pupil_of_broken'][1]
    assert re.search(rf'its SLURM job {array}_\d ended as CANCELLED', ends['cancelled'][1])
    order = [name for event, name, _ in events if event == 'finished']
    assert order.index('teacher') < order.index('pupil')


def hostname():
    return os.uname().nodename.partition('.')[0]


def test_what_the_cluster_does_not_offer_is_said_before_anything_is_submitted(
    at_cluster, tmp_path, monkeypatch
):
    def check(*words):
        SlurmExecutor(tmp_path / 'slurm', SlurmOptions.parse(['time=10', *words])).check()

    check('gpus=1', 'partition=main', 'cpus=2', 'memory=100M')
    with pytest.raises(ExecutorError, match='does not accept .*partition=nowhere'):
        check('gpus=0', 'partition=nowhere')
    with pytest.raises(ExecutorError, match='unrecognized option.*--colour=red'):
        check('gpus=0', 'colour=red')
    monkeypatch.setenv('PATH', '')
    with pytest.raises(ExecutorError, match='no sbatch and no squeue .*login node'):
        check('gpus=0')


def test_variables_of_the_shell_or_of_a_job_overrule_no_option(cluster, tmp_path):
    """sbatch prefers its variables to a script, and a job within a job inherits those of SLURM."""
    line = 'env > variables; scontrol show job $SLURM_JOB_ID > shown; touch done'
    (tmp_path / 'tasks.json').write_text(json.dumps({'run': line}))
    shell = {
        'SBATCH_TIMELIMIT': '7', 'SBATCH_NO_REQUEUE': '1', 'SBATCH_EXPORT': 'NONE',
        'SBATCH_COMMENT': 'kept', 'SQUEUE_PARTITION': 'nowhere',
    }  # fmt: skip
    job = {'SLURM_JOB_ID': '1', 'SLURM_MEM_PER_NODE': '2000', 'SLURM_CPUS_PER_TASK': '3'}
    events = events_of(starter({**cluster, **shell, **job}, tmp_path))
    assert events[-1] == ['end', '', []]
    shown = (tmp_path / 'run' / 'shown').read_text()
    assert 'TimeLimit=00:10:00' in shown and 'Requeue=1' in shown
    variables = (tmp_path / 'run' / 'variables').read_text()
    assert 'SLURM_CPUS_PER_TASK' not in variables and 'SBATCH_COMMENT=kept' in variables


def test_compare_resumes_a_training_that_was_queued_again(
    at_cluster, tmp_path, monkeypatch, capsys
):
    config, data = write_lenet(tmp_path)
    work_dir = tmp_path / 'runs'
    with config.open('a') as file:
        file.write(
            "custom_imports = dict(imports=['toy_pause'])\n"
            "custom_hooks = [dict(type='PauseBeforeSecondEpoch')]\n"
        )
    words = [
        'compare.py', config, '--methods', 'hard', '--seeds', 0, '--work-dir', work_dir,
        '--data-root', data, '--cfg-options', 'train_cfg.max_epochs=2', '--executor', 'slurm',
        '--slurm', 'time=10', 'gpus=0', 'cpus=1',
    ]  # fmt: skip
    folder = work_dir / 'hard' / 'seed_0'

    def queue_again():
        log = folder / LOG
        try:
            wait_for(lambda: log.exists() and 'Epoch(val) [1]' in log.read_text())
            (job,) = wait_for(lambda: [job.id for job in queued_jobs().values() if job.running])
            subprocess.run(['scontrol', 'requeue', job], check=True)
        except Exception:
            subprocess.run(['scancel', '--me'], check=True)  # else `compare` would never end
            raise
        return job

    monkeypatch.setattr(sys, 'argv', list(map(str, words)))
    # Clusters are asked every 15 seconds.
    monkeypatch.setattr(executor_options, 'SlurmExecutor', partial(SlurmExecutor, poll=0.3))
    with ThreadPoolExecutor() as pool:
        queued = pool.submit(queue_again)
        compare.main()
    job, output = queued.result(), capsys.readouterr().out
    assert f'1 runs submitted as SLURM jobs: {job.partition("_")[0]}' in output
    assert (work_dir / 'comparison.md').exists()
    log = (folder / LOG).read_text()
    assert log.count('Epoch(val) [1]') == log.count('--resume') == 1
    records = read_records(folder)
    assert len(records) == 2 and all(
        f'this one in {job}' in made['runs at once'] for made in records
    )
