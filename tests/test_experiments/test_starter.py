"""One starter a folder: others are told who is at work, and watch."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from mmdet_ols.experiments.executors.local import LocalExecutor
from mmdet_ols.experiments.starter import STARTER, starter_of, starting, watch
from mmdet_ols.experiments.states import LOG, locked_log

HOLD = (
    'import sys, time\n'
    'from mmdet_ols.experiments.starter import starting\n'
    'with starting(sys.argv[1], ["compare", "a b.py"]) as other:\n'
    '    print(other, flush=True)\n'
    '    time.sleep(60)\n'
)


class Shell:
    def __init__(self, folder, line):
        self.folder, self.line = folder, line

    def is_finished(self):
        return (self.folder / 'done').exists()

    def next_command(self):
        if self.is_finished():
            return None
        return ['sh', '-c', f'cd {self.folder}; {self.line}']


def test_a_second_starter_is_told_who_is_at_work_until_that_one_dies(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == 'None\n'
        with starting(tmp_path, ['compare']) as other:
            assert other.pid == holder.pid and other.command == "compare 'a b.py'"
        assert starter_of(tmp_path) == other
        assert f'process {holder.pid} on ' in str(other)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert starter_of(tmp_path) is None
    with starting(tmp_path, ['compare', 'again']) as other:
        assert other is None and starter_of(tmp_path).pid == os.getpid()
    assert starter_of(tmp_path) is None and (tmp_path / STARTER).exists()
    assert starter_of(tmp_path / 'nowhere') is None


def test_a_disk_without_locks_is_refused(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, 'flock', flock)
    needed = r'cannot be locked \(Function not implemented\).* choose a work directory'
    with pytest.raises(OSError, match=f'{STARTER} {needed}'), starting(tmp_path, ['compare']):
        pass
    with pytest.raises(OSError, match=f'{LOG} {needed}'):
        locked_log(tmp_path)


def test_who_watches_sees_what_the_starter_does(tmp_path):
    runs = [
        Shell(tmp_path / 'a', 'while [ ! -e ../go ]; do sleep .02; done; touch done'),
        Shell(tmp_path / 'b', 'while [ ! -e ../go ]; do sleep .02; done; echo why; exit 3'),
        Shell(tmp_path / 'c', 'while [ ! -e ../b/failed.txt ]; do sleep .02; done; touch done'),
    ]
    by_folder = {run.folder: run for run in runs}
    events, watched = [], {}

    def report(event, folder, text):
        if event != 'running':
            events.append((event, folder.name, 'why' in text))
        if len(events) == 2:  # both at work are seen: let them go on
            (tmp_path / 'go').touch()

    def look():
        watched.update(
            watch(runs, lambda folder: by_folder[folder].is_finished(), report, tmp_path, 0.01)
        )

    with starting(tmp_path, ['compare']):
        watching = threading.Thread(target=look)
        watching.start()
        failed = LocalExecutor(2, poll=0.01).run(runs)
    watching.join()
    assert list(failed) == list(watched) == [tmp_path / 'b']
    assert {('started', 'a', False), ('started', 'b', False)} == set(events[:2])
    assert {('finished', 'a', False), ('finished', 'c', False), ('failed', 'b', True)} <= set(
        events
    )
