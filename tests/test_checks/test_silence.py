"""What is only tried out is not logged, and what comes after it is."""

import logging
from pathlib import Path

import pytest
from mmengine.logging import MMLogger, print_log

from mmdet_ols.checks.silence import no_logging


@pytest.fixture
def logger(tmp_path):
    """A logger of MMEngine's, which is the current one, and the file that it writes."""
    file = tmp_path / 'log.txt'
    yield MMLogger.get_instance(str(tmp_path), log_file=str(file)), file
    MMLogger._instance_dict.pop(str(tmp_path))


def test_nothing_is_logged_inside_and_everything_again_afterwards(logger, caplog):
    current, file = logger
    current.info('before')  # from now on the logger remembers that this level is enabled
    with no_logging():
        current.info('inside')
        current.error('inside')
        print_log('inside', logger='current', level=logging.WARNING)
        logging.getLogger('other').error('inside')
    current.info('after')
    logging.getLogger('other').error('after')
    text = file.read_text()
    assert 'before' in text and 'after' in text and 'inside' not in text
    assert caplog.messages == ['after']


def test_a_logger_that_is_made_inside_logs_afterwards(tmp_path):
    name = str(tmp_path / 'new')
    with no_logging():
        made = MMLogger.get_instance(name, log_file=f'{name}.txt')
        made.info('inside')
    made.info('after')
    MMLogger._instance_dict.pop(name)
    text = Path(f'{name}.txt').read_text()
    assert 'after' in text and 'inside' not in text
