"""A SLURM cluster of this machine only, without systemd, control groups and accounting."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

#: Debian's packages slurm-wlm and munge bring them.
PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch')

CONFIG = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is queued again waits until its credential has expired: 2 minutes by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MailProg=/bin/true
ReturnToService=2
KillWait=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=24:00:00 State=UP
"""
#: Two devices that are there on any machine stand for GPUs.
GPUS = 'NodeName={host} Name=gpu File=/dev/{device}\n'


def program(name: str) -> str | None:
    return shutil.which(name, path=f'{os.environ.get("PATH", "")}:/usr/sbin:/sbin')


def installed() -> bool:
    return all(program(name) for name in PROGRAMS)


@contextmanager
def one_node_cluster():
    """Start the cluster; yield the environment variables that name it, and end it."""
    folder = Path(tempfile.mkdtemp(prefix='slurm'))  # the path of a socket must be short
    env = {**os.environ, 'SLURM_CONF': str(folder / 'slurm.conf')}
    try:
        _configure(folder)
        _start(folder, env)
        yield env
    finally:
        subprocess.run(['scancel', '--me'], env=env, capture_output=True)
        _wait(env, ['squeue', '--me', '--noheader'], '')
        for name in ('slurmd', 'slurmctld', 'munged'):
            with suppress(OSError, ValueError):
                _end(folder / f'{name}.pid')
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> None:
    for name in ('state', 'spool'):
        (folder / name).mkdir()
    key = folder / 'munge.key'
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(64))
    host = socket.gethostname().partition('.')[0]
    user = pwd.getpwuid(os.getuid()).pw_name
    with socket.socket() as first, socket.socket() as second:
        for taken in (first, second):
            taken.bind(('127.0.0.1', 0))
        ports = [taken.getsockname()[1] for taken in (first, second)]
    text = CONFIG.format(host=host, user=user, folder=folder, ports=ports)
    (folder / 'slurm.conf').write_text(text)
    gpus = [GPUS.format(host=host, device=device) for device in ('null', 'zero')]
    (folder / 'gres.conf').write_text(''.join(gpus))


def _start(folder: Path, env: dict[str, str]) -> None:
    munge = [f'--{name}={folder}/munge{ending}' for name, ending in MUNGE_FILES.items()]
    for command in (['munged', '--force', *munge], ['slurmctld', '-c'], ['slurmd']):
        words = [program(command[0]), *command[1:]]
        subprocess.run(words, env=env, check=True, stdin=subprocess.DEVNULL)
    if _wait(env, ['sinfo', '--noheader', '--format=%T'], 'idle'):
        return
    logs = ''.join(path.read_text()[-2000:] for path in folder.glob('slurm*.log'))
    raise RuntimeError(f'the cluster did not start: {logs}')


def _end(file: Path) -> None:
    """End the daemon of a file, and wait until it has removed that as the last thing it does."""
    os.kill(int(file.read_text()), signal.SIGTERM)
    for _ in range(50):
        if not file.exists():
            return
        time.sleep(0.1)


def _wait(env: dict[str, str], command: list[str], answer: str) -> bool:
    """Ask until there is this answer; say whether there was within 10 seconds."""
    for _ in range(100):
        shown = subprocess.run(command, env=env, capture_output=True, text=True)
        if shown.returncode == 0 and shown.stdout.strip() == answer:
            return True
        time.sleep(0.1)
    return False


MUNGE_FILES = {
    'key-file': '.key', 'socket': '.socket', 'pid-file': 'd.pid', 'log-file': 'd.log',
    'seed-file': 'd.seed',
}  # fmt: skip
