"""What the tests of command lines share."""

import gc
import sys

import pytest
from hosts_tools import forget_last_run


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the `main` of a tool as its command line does, but in this process.

    A process of its own takes seconds to import everything. Returns what the tool printed, an error
    message at its end included.
    """
    # MMEngine's data sets call it at each start, which takes seconds in a process of many tests.
    monkeypatch.setattr(gc, 'collect', lambda: 0)
    # Nor are the line breaks of the dumped config worth a second each time.
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, False))

    def run(main, *arguments, ok=True):
        forget_last_run()
        monkeypatch.setattr(sys, 'argv', ['tool.py', *map(str, arguments)])
        message = ''
        capsys.readouterr()
        try:
            main()
            failed = False
        except SystemExit as stopped:
            failed = stopped.code not in (None, 0)
            message = stopped.code if isinstance(stopped.code, str) else ''
        printed = capsys.readouterr()
        output = f'{printed.out}{printed.err}{message}'
        assert failed != ok, output[-6000:]
        return output

    return run
