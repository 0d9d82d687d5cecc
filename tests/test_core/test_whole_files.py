import pytest

from mmdet_ols.core.whole_files import whole_file


@pytest.mark.parametrize('old', [None, 'old\r\n'])
def test_a_file_is_the_old_one_until_the_new_one_is_whole(old, tmp_path):
    path = tmp_path / 'rows.csv'
    if old is not None:
        path.write_bytes(old.encode())
    with whole_file(path) as file:
        file.write('ä\r\n')
        file.flush()
        assert path.exists() == (old is not None)
        assert old is None or path.read_bytes() == old.encode()
    assert path.read_bytes() == 'ä\r\n'.encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ['rows.csv']


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'scores.npz'
    path.write_bytes(b'old')
    with pytest.raises(KeyboardInterrupt), whole_file(path, 'wb') as file:
        file.write(b'half of the new')
        raise KeyboardInterrupt
    assert path.read_bytes() == b'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['scores.npz']


def test_two_writers_at_once_leave_the_file_of_the_last(tmp_path):
    path = tmp_path / 'request.json'
    with whole_file(path) as first:
        with whole_file(path) as second:
            first.write('first')
            second.write('second')
        assert path.read_text() == 'second'
    assert path.read_text() == 'first'


def test_a_link_stays_one(tmp_path):
    (tmp_path / 'shared.csv').write_text('old')
    (tmp_path / 'mine.csv').symlink_to('shared.csv')
    with whole_file(tmp_path / 'mine.csv') as file:
        file.write('new')
    assert (tmp_path / 'mine.csv').is_symlink()
    assert (tmp_path / 'shared.csv').read_text() == 'new'
