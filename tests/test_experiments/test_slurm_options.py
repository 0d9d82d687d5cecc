"""What a cluster is asked for, as words of a command line."""

from __future__ import annotations

import argparse

import pytest

from mmdet_ols.cli.executor_options import add_executor_options, check_executor, runs_at_once
from mmdet_ols.experiments.executors.slurm_options import SlurmOptions, minutes_of

NEEDED = ['time=2-00:00:00', 'gpus=1']


def test_words_become_what_sbatch_and_submitit_take():
    words = ['partition=gpu', 'cpus=8', 'memory=32G', 'at_once=4', '--mail_user=me@here']
    options = SlurmOptions.parse([*NEEDED, *words])
    assert options.flags() == [
        '--time=2880', '--cpus-per-task=8', '--mem=32G', '--gpus-per-node=1', '--partition=gpu',
        '--mail-user=me@here',
    ]  # fmt: skip
    parameters = options.parameters()
    others = parameters.pop('additional_parameters')
    assert parameters == dict(
        time=2880, array_parallelism=4, gpus_per_node=1, cpus_per_task=8, mem='32G',
        srun_args=['--cpus-per-task=8'], wckey=None,
    )  # fmt: skip
    assert others['partition'] == 'gpu' and others['mail-user'] == 'me@here' and others['requeue']


def test_the_names_that_sbatch_has_mean_the_same():
    ours = SlurmOptions.parse([*NEEDED, 'cpus=8', 'memory=32G'])
    assert SlurmOptions.parse([*NEEDED, 'cpus-per-task=8', '--mem=32G']) == ours


def test_what_is_not_asked_for_is_left_to_the_cluster():
    assert SlurmOptions.parse(['time=10', 'gpus=0']).flags() == ['--time=10']
    options = SlurmOptions.parse(['time=10', 'gres=gpu:a100:1'])
    assert options.gpus is None and options.flags() == ['--time=10', '--gres=gpu:a100:1']


def test_sbatch_has_variables_that_overrule_what_is_asked_for():
    options = SlurmOptions.parse([*NEEDED, 'memory=32G', 'mail-user=me@here'])
    names = options.overruled_by()
    assert {
        'SBATCH_TIMELIMIT', 'SBATCH_MEM_PER_NODE', 'SBATCH_MAIL_USER', 'SBATCH_GPUS_PER_NODE',
        'SBATCH_GPUS', 'SBATCH_EXPORT', 'SBATCH_NO_REQUEUE', 'SBATCH_ARRAY_INX', 'SBATCH_WAIT',
        'SBATCH_CLUSTERS',
    } <= set(names)  # fmt: skip
    assert 'SBATCH_ACCOUNT' not in names  # as the user's shell says, since no option does


@pytest.mark.parametrize(
    ('limit', 'minutes'),
    [
        ('90', 90), ('1:30', 2), ('0:01', 1), ('24:00:00', 1440), ('1:00:01', 61), ('2-12', 3600),
        ('1-0:30', 1470), ('7-00:00:00', 10080),
    ],
)  # fmt: skip
def test_time_limits_are_read_as_slurm_does(limit, minutes):
    assert minutes_of(limit) == minutes


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['gpus=1'], 'needs time=LIMIT'),
        (['time=10'], 'needs gpus=N: .*0 to train on CPUs'),
        (['time=soon', 'gpus=1'], 'time=soon must be a time limit'),
        (['time=3', 'gpus=1'], 'time=3 must be at least 5 minutes'),
        ([*NEEDED, 'time=50'], 'names time twice'),
        ([*NEEDED, 'cpus=4', 'cpus_per_task=8'], 'names cpus twice'),
        ([*NEEDED, 'partition'], "KEY=VALUE, as in partition=gpu, but got 'partition'"),
        ([*NEEDED, 'qos='], "got 'qos='"),
        ([*NEEDED, 'cpus=many'], "cpus must be a number of at least 1, but got 'many'"),
        ([*NEEDED, 'at_once=0'], 'at_once must be a number of at least 1'),
        (['time=10', 'gpus=2'], 'one process, which uses one GPU'),
        ([*NEEDED, 'array=1-3'], 'sets this option of sbatch itself'),
        ([*NEEDED, 'job_name=x'], 'job-name: the executor sets'),
        ([*NEEDED, 'export=NONE'], 'export: the executor sets'),
        ([*NEEDED, 'clusters=other'], 'clusters=other: .* a login node of the other one'),
    ],
)
def test_what_cannot_be_used_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        SlurmOptions.parse(words)


def parse(*words):
    parser = argparse.ArgumentParser()
    add_executor_options(parser)
    args = parser.parse_args(words)
    check_executor(parser, args)
    return args


def test_the_tools_say_which_executor_has_which_options(capsys):
    assert runs_at_once(parse('--jobs', '3')) == 3
    args = parse('--executor', 'slurm', '--slurm', *NEEDED, '--slurm', 'at_once=5')
    assert runs_at_once(args) == 5 and args.slurm.minutes == 2880
    for words, message in (
        (['--jobs', '0'], '--jobs must be at least 1'),
        (['--slurm', *NEEDED], 'add --executor slurm'),
        (['--executor', 'slurm'], '--slurm needs time=LIMIT'),
        (['--executor', 'slurm', '--jobs', '2', '--slurm', *NEEDED], 'say --slurm at_once=N'),
    ):
        with pytest.raises(SystemExit):
            parse(*words)
        assert message in capsys.readouterr().err
