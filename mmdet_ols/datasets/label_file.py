"""Labels from a file: what people, or another network, said that the images show."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.datasets.relabelled import RelabelledDataset
from mmdet_ols.datasets.text_files import decode_text
from mmdet_ols.registry import register_dataset


@register_dataset
class LabelFileDataset(RelabelledDataset):
    """Gives the samples of another data set the labels that a column of a text file holds.

    The file has a line for each image, its name first, and a header that begins with `#` and names
    the columns; CIFAR-10N's is

        # image clean aggregate random1 random2 random3 worst
        frog/0000.jpg 6 6 6 4 6 4

    Columns are separated by blanks. Labels are numbers or names of classes. A name is the end of
    the image's path, whole folders at a time. Where samples have no path, as in MMPretrain's
    `CIFAR10`, the lines follow the order of the data set. A file that ends in .gz is unpacked.

    Args:
        dataset: The data set with the true labels, or its config: one class a sample. Put
            `InMemoryDataset` around this one, not into it.
        file: Path of the file.
        column: Name of the column with the labels of the training.
        clean: Name of the column with the true labels. They are compared with those of the data
            set, so that a file of other data, or in another order, is noticed. None compares
            nothing, which is refused where the lines follow the order.
        whole: Whether every line must have a sample; False where the data set is a part of the
            images that the file describes.

    Attributes:
        clean_labels: The labels of the data set, of shape (N,), int64.
        noisy_labels: The labels of the file, of shape (N,), int64.
        flipped: Whether they differ, of shape (N,), bool.

    Raises:
        ValueError: The file cannot be read, or does not fit the data set: a column, an image or a
            line is missing, a line names several images, a label is no class, or the true labels
            differ.
        FileNotFoundError: There is no such file.
        TypeError: The data set is an `InMemoryDataset`, or has no pipeline of its own.
    """

    def __init__(
        self,
        dataset: Any,
        file: str | Path,
        column: str,
        clean: str | None = None,
        whole: bool = True,
    ) -> None:
        super().__init__(dataset)
        self.file, self.column = Path(os.path.expanduser(file)), column
        self.source = f'column {column} of {file}'
        self.remedy = 'restore the file, or name the column that it learned from'
        table = _Table(self.file, list(dict.fromkeys(filter(None, (column, clean)))))
        lines = self._lines_of_samples(table, whole, ordered_by=clean)
        numbers = {name: label for label, name in enumerate(self.classes)}
        truth = self.true_labels()
        noisy = table.labels(column, numbers)[lines]
        if clean is not None:
            self._compare(truth, table.labels(clean, numbers)[lines], clean, table, lines)
        self.set_labels(truth, noisy)

    def _lines_of_samples(self, table: _Table, whole: bool, ordered_by: str | None) -> Tensor:
        """The row of the table that belongs to each sample, of shape (N,), int64."""
        count = len(self.dataset)
        paths = [self.dataset.get_data_info(index).get('img_path') for index in range(count)]
        if all(paths):
            lines = [table.row_of(path) for path in paths]
            images: dict[int, str] = {}
            for path, line in zip(paths, lines):
                other = images.setdefault(line, path)
                if other != path:
                    raise ValueError(
                        f'{self.file}: every line must name one image, but {table.names[line]!r} '
                        f'is the end of {other} and of {path}: name their folders, too.'
                    )
            unused = len(table.names) - len(images)
            if whole and unused:
                first = next(name for row, name in enumerate(table.names) if row not in images)
                raise ValueError(
                    f'{self.file}: every line must have an image, but {unused} of '
                    f'{len(table.names)} have none in `dataset`, the first one {first!r}: give the '
                    'whole data set, or set `whole=False` if it is meant to be a part.'
                )
            return torch.tensor(lines, dtype=torch.int64)
        if ordered_by is None or len(table.names) != count:
            raise ValueError(
                f'{self.file}: the samples of `dataset` have no path, so the lines must follow '
                f'their order, one for each of {count}, and `clean` must name the column that '
                f'proves it; but got {len(table.names)} lines and clean={ordered_by!r}.'
            )
        return torch.arange(count)

    def _compare(
        self, truth: Tensor, said: Tensor, column: str, table: _Table, lines: Tensor
    ) -> None:
        wrong = (truth != said).nonzero().flatten().tolist()
        if wrong:
            first = wrong[0]
            name, own, other = table.names[lines[first]], truth[first], said[first]
            raise ValueError(
                f'{self.file}: column {column} must hold the labels of `dataset`, but '
                f'{len(wrong)} of {len(truth)} differ; the first is {name!r}, of class '
                f'{self.classes[own]!r} in the data set and {self.classes[other]!r} in the file. '
                'The file describes other data or another order of the classes: take the one that '
                'belongs to the data set.'
            )


class _Table:
    """The columns of a file of labels.

    Args:
        path: The file.
        columns: The names of those that are needed.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        lines = [line.strip() for line in _text(path).splitlines()]
        numbered = [(number, line) for number, line in enumerate(lines, 1) if line]
        if not numbered or not numbered[0][1].startswith('#'):
            raise ValueError(
                f"{path}: the first line must name the columns, as in '# image clean worst', but "
                f'it is {numbered[0][1][:60] if numbered else ""!r}.'
            )
        header = numbered[0][1].lstrip('#').split()
        missing = [name for name in columns if name not in header[1:]]
        if missing:
            raise ValueError(
                f'{path} must have the columns that are asked for, but {", ".join(missing)} is not '
                f'among them: {", ".join(header[1:])}.'
            )
        self.names: list[str] = []
        self._cells: dict[str, list[str]] = {name: [] for name in columns}
        for number, line in numbered[1:]:
            if line.startswith('#'):
                continue
            cells = line.rsplit(None, len(header) - 1)  # the name may hold blanks
            if len(cells) != len(header):
                raise ValueError(
                    f'{path}, line {number}: expected a name and {len(header) - 1} labels, but got '
                    f'{line[:60]!r}.'
                )
            self.names.append(cells[0].replace('\\', '/'))
            for name in columns:
                self._cells[name].append(cells[header.index(name)])
        self._rows = {name: row for row, name in enumerate(self.names)}
        if len(self._rows) < len(self.names):
            repeated = next(n for row, n in enumerate(self.names) if self._rows[n] != row)
            raise ValueError(f'{path}: every image must have one line, but {repeated!r} has more.')
        self._depths = sorted({name.count('/') + 1 for name in self.names}, reverse=True)

    def row_of(self, path: str) -> int:
        """The row of an image: that of the longest name which its path ends with."""
        parts = str(path).replace('\\', '/').split('/')
        for depth in self._depths:
            row = self._rows.get('/'.join(parts[-depth:]))
            if row is not None:
                return row
        example = self.names[0] if self.names else ''
        raise ValueError(
            f'{self.path} must have a line for every image, but has none for {path}; its names are '
            f'like {example!r}.'
        )

    def labels(self, column: str, numbers: Mapping[str, int]) -> Tensor:
        """The labels of a column as class numbers, of shape (lines,), int64."""
        labels = []
        for name, cell in zip(self.names, self._cells[column]):
            label = numbers.get(cell, int(cell) if cell.isdecimal() else -1)
            if not 0 <= label < len(numbers):
                raise ValueError(
                    f'{self.path}: column {column} must hold a class, a name or a number in '
                    f'[0, {len(numbers) - 1}], but got {cell!r} for {name!r}.'
                )
            labels.append(label)
        return torch.tensor(labels, dtype=torch.int64)


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}, the file with the labels, is not there: put it there, or correct `file` of '
            'LabelFileDataset.'
        )
    data = path.read_bytes()
    if path.suffix == '.gz':
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f'{path} cannot be unpacked ({error}): fetch it again.') from error
    try:
        return decode_text(data).text
    except ValueError as error:
        raise ValueError(f'{path} cannot be read, since {error} Save it as UTF-8.') from error
