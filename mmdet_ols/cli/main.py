"""The command `mmdet-ols`: which sub-commands there are, and what runs each."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from mmdet_ols.core.suggestions import did_you_mean
from mmdet_ols.host_imports import host_import_errors, hosts_installed_twice

#: Name -> (what it does, the module whose `main` does it).
COMMANDS = {
    'train': ('train a detector or a classifier from a config', 'train'),
    'test': ('test a trained detector or classifier', 'test'),
    'compare': ('train and test methods or configs with the same seeds, in one table', 'compare'),
    'reproduce': ("make the paper's tables: plan, run, status, page", 'reproduce'),
    'evidence': ('print tables from the rows that compare --record wrote', 'evidence'),
    'report': ('write one HTML page about a run', 'report'),
    'plot': ('draw the soft labels of a checkpoint, or features of classifiers', 'plot'),
    'make-demo-data': ('draw the demo data set', 'make_demo_data'),
}
#: What `plot` can draw; the first is drawn where it is given a file.
PLOTS = {
    'soft-labels': ('draw the soft labels of a checkpoint', 'plot_soft_labels'),
    'features': ('draw the features of classifiers, by t-SNE, side by side', 'plot_features'),
}
HELP = ('-h', '--help')


def main() -> None:
    """Run the sub-command that the command line names."""
    # One parser for all would need the options of every tool, and so all of their imports.
    command, *rest = sys.argv[1:] or ['--help']
    if command in HELP:
        print(_overview('mmdet-ols', COMMANDS))
        return
    if command == '--version':
        from importlib.metadata import version

        print(f'mmdet-ols {version("mmdet_ols")}')
        return
    if command not in COMMANDS:
        names, meant = ', '.join(COMMANDS), did_you_mean(command, COMMANDS)
        sys.exit(f'error: the command must be one of {names}, but got {command!r}{meant}.')
    if command == 'plot':
        run_plot(rest)
    else:
        _run(f'mmdet-ols {command}', COMMANDS[command][1], rest)


def run_plot(words: list[str]) -> None:
    """Run the plot that the words after `mmdet-ols plot` ask for."""
    if not words or words[0] in HELP:
        print(_overview('mmdet-ols plot', PLOTS))
        print('`mmdet-ols plot CHECKPOINT` draws soft labels, too.')
    elif words[0] in PLOTS:
        _run(f'mmdet-ols plot {words[0]}', PLOTS[words[0]][1], words[1:])
    else:
        kind = next(iter(PLOTS))
        meant = did_you_mean(words[0], PLOTS)
        if meant and not Path(words[0]).exists():
            names = ', '.join(PLOTS)
            sys.exit(
                f'error: the plot must be one of {names}, or a file, but got {words[0]!r}{meant}.'
            )
        _run(f'mmdet-ols plot {kind}', PLOTS[kind][1], words)


def _run(program: str, module: str, words: list[str]) -> None:
    """Run a tool with these arguments, under a name by which its usage and its log call it."""
    sys.argv = [program, *words]
    run_tool(module)


def run_tool(module: str) -> None:
    """Run a tool with the arguments of the process; what it lacks is an error, not a traceback."""
    mixture = hosts_installed_twice()
    if mixture:
        print(f'warning: {mixture}', file=sys.stderr)
    try:
        with host_import_errors():
            tool = import_module(f'mmdet_ols.cli.{module}')
    except ImportError as error:
        sys.exit(f'error: {error}')
    tool.main()


def _overview(program: str, commands: dict[str, tuple[str, str]]) -> str:
    width = max(map(len, commands))
    lines = [f'  {name:<{width}}  {text}' for name, (text, _) in commands.items()]
    listed = '\n'.join(lines)
    return (
        f'usage: {program} COMMAND ...\n\n{listed}\n\n'
        f'{program} COMMAND --help lists the options of a command.'
    )


if __name__ == '__main__':
    main()
