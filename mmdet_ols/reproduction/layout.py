"""The paper's tables with their rows and columns, filled with any kind of cell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from mmdet_ols.reproduction.claims import Number

#: A header cell: its text, and how many rows or columns it heads.
Header = tuple[str, int]

METHODS = {
    'hard': 'Hard labels', 'bootsoft': 'Bootsoft', 'boothard': 'Boothard',
    'disturblabel': 'DisturbLabel', 'sce': 'SCE', 'ls': 'LS', 'ols': 'OLS',
    'ols_single': 'OLS-Single', 'pairwise_confusion': 'Pairwise confusion', 'ddgsd': 'Xu et al.',
    'byot': 'BYOT', 'cutout': 'CutOut', 'tfkd_self': 'Tf-KD (self)', 'tfkd_reg': 'Tf-KD',
    'l2rw': 'Ren et al. (L2RW)', 'meta_weight_net': 'Meta-Weight-Net',
    'm_correction': 'Arazo et al. (M-correction)', 'pencil': 'PENCIL',
    'deep_self_learning': 'Han et al. (deep self-learning)',
}  # fmt: skip
NETWORKS = {
    'resnet29': 'ResNet-29', 'resnet34': 'ResNet-34', 'resnet50': 'ResNet-50',
    'resnet56': 'ResNet-56', 'resnet74': 'ResNet-74', 'resnet101': 'ResNet-101',
    'resnet110': 'ResNet-110', 'resnext29_2x64d': 'ResNeXt29-2x64d',
    'resnext29_32x4d': 'ResNeXt29-32x4d', 'mobilenetv2': 'MobileNetV2',
    'efficientnet_b7': 'EfficientNet-b7', 'san15': 'SAN-15',
    'yolov3_mobilenetv2': 'YOLO with MobileNetV2',
}  # fmt: skip
DATA = {
    'cifar10': 'CIFAR-10', 'cifar100': 'CIFAR-100', 'imagenet': 'ImageNet', 'cub': 'CUB-200-2011',
    'flowers': 'Flowers-102', 'cars': 'Cars', 'aircraft': 'Aircraft', 'voc': 'PASCAL VOC',
}  # fmt: skip
METRICS = {
    'top1_error': 'Top-1 error (%)', 'top5_error': 'Top-5 error (%)',
    'fgsm/top1_error': 'FGSM: top-1 error (%)', 'fgsm/top5_error': 'FGSM: top-5 error (%)',
    'pgd/top1_error': 'PGD: top-1 error (%)', 'pgd/top5_error': 'PGD: top-5 error (%)',
    'calibration/ece': 'ECE (%)', 'cifar10h/kl': 'CIFAR-10H: KL (nats)',
    'pascal_voc/mAP': 'mAP (%)',
    'ensemble/top1_error_1': '1 model', 'ensemble/top1_error_6': '6 models',
    'ensemble/top1_error_10': '10 models', 'ensemble/top1_error_15': '15 models',
    'ensemble/top1_error_20': '20 models',
}  # fmt: skip


class Layout(NamedTuple):
    """How the paper lays a table out.

    Attributes:
        title: What it shows.
        rows: What tells its rows apart, the outermost first: fields of the paper's figures.
        columns: The same for its columns.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]


#: In the order of the page.
LAYOUTS = {
    'II': Layout('Top-1 error (%) on CIFAR-100', ('method',), ('network',)),
    'III': Layout('Top-1 error (%) of model ensembles, ResNet-56', ('method',), ('metric',)),
    'IV': Layout('Classification on ImageNet', ('network', 'method'), ('metric',)),
    'VI': Layout('Fine-grained classification', ('network', 'data'), ('method', 'metric')),
    'VII': Layout(
        'Top-1 error (%) with wrong training labels, ResNet-56 on CIFAR-100',
        ('method',),
        ('noise_rate',),
    ),
    'VIII': Layout('Adversarial attacks, ResNet-29 on CIFAR-10', ('method',), ('metric',)),
    'IX': Layout('Adversarial attacks, ResNet-50 on ImageNet', ('method',), ('metric',)),
    'X': Layout('Object detection on PASCAL VOC', ('metric',), ('method',)),
    'XI': Layout('Error and calibration on CIFAR-100', ('method',), ('network', 'metric')),
    'XII': Layout('Agreement with people, ResNet-29 on CIFAR-10', ('method',), ('metric',)),
    'V-E': Layout('Soft labels of one sample, ResNet-56 on CIFAR-100', ('method',), ('metric',)),
}


class Row(NamedTuple):
    """A row of a table: the header cells that begin in it, and a number or None a column."""

    headers: list[Header]
    numbers: list[Number | None]
    #: The texts of all its header cells.
    names: tuple[str, ...]


class TableLayout(NamedTuple):
    """A table of the paper.

    Attributes:
        name: As the paper numbers it.
        title: What it shows.
        depth: How many columns hold headers of rows.
        heads: Lines of column headers, the outermost first.
        columns: The texts of each column's headers.
        rows: The rows.
    """

    name: str
    title: str
    depth: int
    heads: list[list[Header]]
    columns: list[tuple[str, ...]]
    rows: list[Row]

    @property
    def numbers(self) -> list[Number]:
        return [number for row in self.rows for number in row.numbers if number is not None]

    @property
    def heading(self) -> str:
        """What the paper calls it; what it reports in the text of a section counts as a table."""
        return f'Section {self.name}' if self.name == 'V-E' else f'Table {self.name}'

    @property
    def anchor(self) -> str:
        return f'table-{self.name.lower()}'


def lay_out(name: str, numbers: Sequence[Number]) -> TableLayout:
    """Put the numbers of a table where the paper has them.

    Args:
        name: As the paper numbers it.
        numbers: In the paper's order.
    """
    layout = LAYOUTS[name]
    # Tf-KD is one method of a table though its temperature differs from network to network.
    places = [_key(number, (*layout.rows, *layout.columns), False) for number in numbers]
    with_options = len(set(places)) < len(places)
    rows = [_key(number, layout.rows, with_options) for number in numbers]
    columns = [_key(number, layout.columns, with_options) for number in numbers]
    at = dict(zip(zip(rows, columns), numbers))
    across = list(dict.fromkeys(columns))
    down = list(dict.fromkeys(rows))
    heads = [_beginning(across, number) for number in range(len(across))]
    return TableLayout(
        name,
        layout.title,
        len(layout.rows),
        [[cells[n] for cells in heads if n in cells] for n in range(len(layout.columns))],
        across,
        [
            Row([*_beginning(down, n).values()], [at.get((key, column)) for column in across], key)
            for n, key in enumerate(down)
        ],
    )


def method_title(method: str, with_options: bool = True) -> str:
    """A method as tables call it: 'BYOT + OLS', 'OLS (sigmoid_reading=softmax)'."""
    titles = []
    for part in method.split('+'):
        name, _, options = part.partition(':')
        title = METHODS.get(name, name)
        titles.append(f'{title} ({options})' if options and with_options else title)
    return ' + '.join(titles)


def describe(number: Number) -> str:
    """Where a number stands: its method, network, data, noise rate and metric, in words."""
    figure = number.figure
    noise = f', {100 * figure.noise_rate:g} % wrong labels' if figure.noise_rate else ''
    network, data = NETWORKS.get(figure.network, figure.network), DATA.get(figure.data, figure.data)
    metric = METRICS.get(figure.metric, figure.metric)
    return f'{method_title(figure.method)}, {network} on {data}{noise}: {metric}'


def _key(number: Number, fields: Sequence[str], with_options: bool) -> tuple[str, ...]:
    return tuple(_text(number, field, with_options) for field in fields)


def _text(number: Number, field: str, with_options: bool) -> str:
    figure = number.figure
    if field == 'method':
        quoted = f' (quoted from {figure.source})' if figure.source else ''
        return method_title(figure.method, with_options) + quoted
    if field == 'noise_rate':
        return f'{100 * figure.noise_rate:g} %'
    names = {'network': NETWORKS, 'data': DATA, 'metric': METRICS}[field]
    value = getattr(figure, field)
    return names.get(value, value)


def _beginning(keys: Sequence[tuple[str, ...]], start: int) -> dict[int, Header]:
    """The header cells that begin at a row or column, by level, with how many they head."""
    key, before = keys[start], keys[start - 1] if start else ()
    cells = {}
    for level, text in enumerate(key):
        path = key[: level + 1]  # with the headers that it stands below
        if path != before[: level + 1]:
            same = (other[: level + 1] == path for other in keys[start:])
            cells[level] = text, sum(takewhile(bool, same))
    return cells
