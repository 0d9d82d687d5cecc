"""The sizes of the data sets are those of the paper's Table V, and every cell has them."""

from __future__ import annotations

from mmdet_ols.paper import cells, data_sets
from mmdet_ols.reproduction.scales import place_of

#: Categories, training samples, test samples.
TABLE_V = {
    'cub': (200, 5994, 5794),
    'flowers': (102, 2040, 6149),
    'cars': (196, 8144, 8041),
    'aircraft': (90, 6667, 3333),
}


def test_table_v():
    sizes = {
        row.data: (row.classes, row.training_images, row.test_images)
        for row in data_sets()
        if row.source == 'Table V'
    }
    assert sizes == TABLE_V


def test_every_cell_has_its_data():
    known = {row.data for row in data_sets()}
    assert {place_of(cell.config)['data'] for cell in cells()} == known
