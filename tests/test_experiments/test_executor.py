"""Running many processes: order, failures, an interrupt, and each one's share of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mmdet_ols.experiments.executors import WaitsForAnotherRun
from mmdet_ols.experiments.executors.local import (
    LocalExecutor,
    end_groups,
    share_of_machine,
    terminating_is_interrupting,
)
from mmdet_ols.experiments.states import LOG, is_locked, state_of


class Shell:
    """A run whose commands its `runs` choose."""

    def __init__(self, folder, runs):
        self.folder, self.runs = folder, runs

    def next_command(self):
        return self.runs.next_command(self.folder)


class Runs:
    """Runs whose commands are shell lines; a run is finished once it holds the file `done`."""

    def __init__(self, root, **lines):
        self.tasks = [Shell(root / name, self) for name in lines]
        self.lines = lines
        self.events = []

    def next_command(self, folder):
        done = (folder / 'done').exists()
        return None if done else ['sh', '-c', f'cd {folder}; {self.lines[folder.name]}']

    def report(self, event, folder, text):
        if event != 'running':
            self.events.append((event, folder.name))

    def run(self, jobs=1):
        failed = LocalExecutor(jobs, poll=0.02).run(self.tasks, self.report)
        return {folder.name: why for folder, why in failed.items()}


def test_one_failure_does_not_stop_the_others(tmp_path):
    runs = Runs(tmp_path, a='touch done', b='echo the reason >&2; exit 3', c='touch done')
    failed = runs.run()
    assert list(failed) == ['b'] and 'exit status 3' in failed['b'] and 'the reason' in failed['b']
    assert runs.events == [
        ('started', 'a'), ('finished', 'a'), ('started', 'b'), ('failed', 'b'),
        ('started', 'c'), ('finished', 'c'),
    ]  # fmt: skip


def test_a_run_that_the_system_killed_has_probably_run_out_of_memory(tmp_path):
    failed = Runs(tmp_path, a='kill -9 $$', b='exit 3').run()
    assert failed['a'].startswith('exit status -9: killed, as the system does when memory runs')
    assert failed['b'].startswith('exit status 3\n')


def test_what_ends_without_an_error_and_without_a_result_has_failed(tmp_path):
    runs = Runs(tmp_path, a='echo once >> count')
    assert 'ended before its time' in runs.run()['a']
    assert (tmp_path / 'a' / 'count').read_text() == 'once\n'


def test_a_run_that_cannot_go_on_has_failed(tmp_path):
    runs = Runs(tmp_path, a='', b='touch done')
    commands = runs.next_command

    def next_command(folder):
        if folder.name == 'a':
            raise ValueError('no checkpoint')
        return commands(folder)

    runs.next_command = next_command
    assert runs.run() == {'a': 'no checkpoint'}
    assert runs.events[-1] == ('finished', 'b')


def test_a_run_may_need_several_commands(tmp_path):
    runs = Runs(tmp_path, a='')
    paths = [tmp_path / 'a' / name for name in ('first', 'the second')]
    runs.next_command = lambda folder: next(
        (['touch', str(path)] for path in paths if not path.exists()), None
    )
    assert runs.run() == {}
    assert {path.name for path in (tmp_path / 'a').iterdir()} == {'first', 'the second', LOG}
    # As a user can paste it.
    assert f"\n$ touch '{paths[1]}'\n" in (tmp_path / 'a' / LOG).read_text()


def test_as_many_as_asked_for_run_at_once(tmp_path):
    """Each waits for the other, which only works side by side; the third waits for its turn."""
    wait = (
        'touch here; for i in $(seq 500); do '
        '[ -e ../{}/here ] && touch done && exit; sleep .02; done'
    )
    runs = Runs(tmp_path, a=wait.format('b'), b=wait.format('a'), c='touch done')
    assert runs.run(jobs=2) == {}
    assert runs.events[:2] == [('started', 'a'), ('started', 'b')]
    assert runs.events[2][0] == 'finished'


@pytest.mark.parametrize('jobs', [1, 3])
def test_a_run_may_wait_for_another_one(tmp_path, jobs):
    runs = Runs(tmp_path, pupil='touch done', other='touch done', teacher='sleep 0.1; touch done')
    commands = runs.next_command

    def next_command(folder):
        if folder.name == 'pupil' and not (tmp_path / 'teacher' / 'done').exists():
            raise WaitsForAnotherRun('its teacher is not there')
        return commands(folder)

    runs.next_command = next_command
    assert runs.run(jobs) == {}
    assert runs.events.index(('started', 'teacher')) < runs.events.index(('started', 'pupil'))
    assert runs.events.count(('started', 'pupil')) == 1 and len(runs.events) == 6


def test_a_run_that_waits_for_one_that_failed_has_failed(tmp_path):
    runs = Runs(tmp_path, pupil='touch done', teacher='exit 3', other='touch done')
    commands = runs.next_command

    def next_command(folder):
        if folder.name == 'pupil':
            raise WaitsForAnotherRun('its teacher is not there')
        return commands(folder)

    runs.next_command = next_command
    failed = runs.run()
    assert failed['pupil'] == 'its teacher is not there' and 'exit status 3' in failed['teacher']
    assert runs.events[-1] == ('failed', 'pupil') and ('finished', 'other') in runs.events


def test_a_run_of_another_process_is_waited_for(tmp_path):
    """Also where the first parent was killed and only its child lives on."""
    script = (
        'import os, sys; from pathlib import Path\n'
        'from mmdet_ols.experiments.executors.local import LocalExecutor\n'
        'class Task:\n'
        f'    folder = Path({str(tmp_path / "a")!r})\n'
        '    def next_command(self):\n'
        '        return ["sh", "-c", f"cd {self.folder}; echo $$ > pid;'
        ' while [ ! -e end ]; do sleep .02; done; touch done"]\n'
        'def report(event, folder, text):\n'
        '    if event == "running" and (folder / "pid").exists(): os.kill(os.getpid(), 9)\n'
        'LocalExecutor().run([Task()], report)'
    )
    os.spawnv(os.P_WAIT, sys.executable, [sys.executable, '-c', script])
    folder = tmp_path / 'a'
    assert is_locked(folder / LOG) and state_of(folder, finished=False).name == 'running'
    runs = Runs(tmp_path, a='touch twice', b='touch done ../a/end')
    assert runs.run() == {}
    assert runs.events == [('started', 'b'), ('finished', 'b'), ('finished', 'a')]
    assert not (folder / 'twice').exists()
    patience = time.monotonic() + 30
    while is_locked(folder / LOG):  # the shell ends a moment after it has made the last file
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_a_folder_says_why_its_run_failed_until_it_is_tried_again(tmp_path):
    folder = tmp_path / 'a'
    assert state_of(folder, finished=False) == ('waiting', '')
    Runs(tmp_path, a='echo the reason; exit 3').run()
    state = state_of(folder, finished=False)
    assert state.name == 'failed' and 'exit status 3' in state.why and 'the reason' in state.why
    assert Runs(tmp_path, a='touch done').run() == {}
    assert state_of(folder, finished=False) == ('waiting', '')


def test_a_folder_that_cannot_be_written_stops_no_other_run(tmp_path):
    (tmp_path / 'a').write_text('a file where the folder should go')
    runs = Runs(tmp_path, a='touch done', b='touch done')
    failed = runs.run()
    assert list(failed) == ['a'] and 'File exists' in failed['a']
    assert runs.events[-1] == ('finished', 'b')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_whole_group(tmp_path, number):
    runs = Runs(tmp_path, a='sleep 60 & echo $! > worker; wait')
    worker = tmp_path / 'a' / 'worker'

    def report(event, folder, text):
        if event == 'running' and worker.exists() and worker.read_text().strip():
            os.kill(os.getpid(), number)

    runs.report = report
    # Where the tests run in the background, SIGINT is ignored from the start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stopped = pytest.raises(KeyboardInterrupt, match='the runs started here are stopped')
    with stopped, terminating_is_interrupting():
        runs.run()
    assert not is_alive(int(worker.read_text()))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_interrupt_does_not_spare_what_does_not_listen(number):
    script = (
        'import os, signal, sys, time\n'
        'tell = lambda *_: os.kill(os.getppid(), int(sys.argv[1]))\n'
        'signal.signal(signal.SIGTERM, tell)\n'
        'print(flush=True)\n'
        'time.sleep(60)'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', script, str(int(number))],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    process.stdout.readline()

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    try:
        end_groups([process], grace=1.0)
        assert process.wait(10) == -signal.SIGKILL
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
        process.kill()


def is_alive(pid):
    for _ in range(100):  # until the process that inherited it has checked
        try:
            with open(f'/proc/{pid}/stat') as file:
                if file.read().rpartition(')')[2].split()[0] == 'Z':
                    return False
        except FileNotFoundError:
            return False
        time.sleep(0.02)
    return True


def test_jobs_share_cores_and_take_gpus_in_turn(monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    assert share_of_machine(0, jobs=3) == {'OMP_NUM_THREADS': '2'}
    assert share_of_machine(0, jobs=9) == {'OMP_NUM_THREADS': '1'}
    monkeypatch.setenv('OMP_NUM_THREADS', '5')
    assert share_of_machine(0, jobs=3) == {}
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    assert [share_of_machine(slot, 3)['CUDA_VISIBLE_DEVICES'] for slot in range(3)] == [
        '0',
        '1',
        '0',
    ]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,7')
    assert [share_of_machine(slot, 2)['CUDA_VISIBLE_DEVICES'] for slot in range(2)] == ['4', '7']


def test_jobs_take_the_parts_of_a_gpu_in_turn(monkeypatch):
    """However many are named, CUDA shows a process only the first of them."""
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', 'MIG-4f5c,MIG-a1b2')
    monkeypatch.setattr('torch.cuda.device_count', lambda: 1)
    taken = [share_of_machine(slot, 2)['CUDA_VISIBLE_DEVICES'] for slot in range(2)]
    assert taken == ['MIG-4f5c', 'MIG-a1b2']
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    assert 'CUDA_VISIBLE_DEVICES' not in share_of_machine(0, 2)
