"""Text files in encodings that nobody wrote down."""

import pytest

from mmdet_ols.datasets.text_files import decode_text

CHINESE = '<name>安全帽</name>'


@pytest.mark.parametrize(
    ('text', 'encoding'),
    [
        ('cat\n', 'ascii'),
        ('Möwe', 'utf-8'),
        ('Möwe', 'utf-8-sig'),
        ('Möwe', 'utf-16'),
        ('a\nb\n', 'utf-16'),  # as Windows' PowerShell writes lists
        ('Möwe', 'utf-32'),
        ('<name>Möwe</name>', 'cp1252'),
        ('<name>élan café</name>', 'latin-1'),
        (CHINESE, 'gb2312'),
        (CHINESE, 'gbk'),
        ('镕基', 'gbk'),  # not in GB 2312
        (CHINESE, 'gb18030'),
    ],
)
def test_text_is_read_whatever_its_encoding(text, encoding):
    assert decode_text(text.encode(encoding)).text == text


def test_what_the_file_declares_counts_where_the_bytes_leave_a_choice():
    content = 'ねこ'.encode('shift_jis')
    assert decode_text(content, 'shift_jis').text == 'ねこ'
    assert decode_text('安全帽'.encode(), 'gb2312').text == '安全帽'  # a wrong declaration
    assert decode_text(b'cat', 'no-such-encoding').text == 'cat'


@pytest.mark.parametrize('content', [b'\0\x05\x16\x07\0', b'\xff\xfea'])
def test_what_is_no_text_is_said(content):
    with pytest.raises(ValueError, match='^it is not text|^its byte-order mark says utf-16'):
        decode_text(content)


def test_chinese_that_could_be_utf_8_is_read_as_declared():
    assert '猫'.encode('gb2312').decode('utf-8') == 'è'
    assert decode_text('猫'.encode('gb2312'), 'gb2312').text == '猫'
