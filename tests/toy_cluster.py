"""Runs of a line of shell each, as jobs of a cluster; as a program, what starts and watches them.

`python toy_cluster.py FOLDER AT_ONCE` reads `FOLDER/tasks.json` and prints what is reported. With a
third word it is killed before it lets its held jobs go.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from mmdet_ols.experiments.executors import WaitsForAnotherRun


@dataclass(frozen=True)
class ShellTask:
    """A run that is finished once its folder has a file `done`."""

    folder: Path
    line: str
    teacher: ShellTask | None = None

    def next_command(self):
        if (self.folder / 'done').exists():
            return None
        if self.teacher is not None and self.teacher.next_command() is not None:
            raise WaitsForAnotherRun(f'it learns from {self.teacher.folder.name}')
        return ['sh', '-c', f'cd {self.folder}; echo start >> starts; {self.line}']


def read_tasks(folder):
    """The tasks of `tasks.json`, which maps names to lines, or to pairs of teacher and line."""
    tasks = {}
    for name, line in json.loads((folder / 'tasks.json').read_text()).items():
        teacher = None
        if not isinstance(line, str):
            teacher, line = tasks[line[0]], line[1]
        tasks[name] = ShellTask(folder / name, line, teacher)
    return list(tasks.values())


def main(folder, at_once, dies=False):
    from mmdet_ols.experiments.executors import slurm
    from mmdet_ols.experiments.executors.local import terminating_is_interrupting
    from mmdet_ols.experiments.executors.slurm_options import SlurmOptions

    def say(text):
        print(json.dumps(['said', '', text]), flush=True)

    def report(event, run, text):
        if event != 'running':
            print(json.dumps([event, run.name, text]), flush=True)

    if dies:
        slurm.release = lambda jobs: os.kill(os.getpid(), signal.SIGKILL)
    options = SlurmOptions.parse(['time=10', 'gpus=0', f'at_once={at_once}', 'partition=main'])
    executor = slurm.SlurmExecutor(folder / 'slurm', options, say=say, poll=0.3, patience=1.5)
    try:
        with terminating_is_interrupting():
            executor.check()
            failed = executor.run(read_tasks(folder), report)
    except KeyboardInterrupt as interrupt:
        say(str(interrupt))
        sys.exit(130)
    print(json.dumps(['end', '', sorted(path.name for path in failed)]), flush=True)


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3)
