"""Augmentations of whole batches against the hosts' and against loops over single images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch.testing import assert_close

from mmdet_ols import BatchCutOut, BatchRandomCrop, BatchRandomFlip, CutOutSquare

#: Far less likely than any other failure; the seeds are fixed.
RARE = 1e-4


def numbered(count, side, channels=3):
    """Images whose pixels differ from each other (and from 0), as far as uint8 goes."""
    pixels = torch.arange(1, count * channels * side * side + 1)
    return (pixels % 251 + 1).to(torch.uint8).view(count, channels, side, side)


def crop_places(padded, crop, image):
    """All (top, left) at which a crop of the padded image is this image."""
    size = image.shape[-1]
    return [
        (top, left)
        for top in range(padded.shape[1] - size + 1)
        for left in range(padded.shape[2] - size + 1)
        if (padded[:, top : top + size, left : left + size] == image).all()
    ]


def test_every_crop_is_one_of_the_padded_image_and_all_are_equally_likely():
    image = numbered(1, 6)
    images = image.expand(2500, -1, -1, -1)
    kept = images.clone()
    crops = BatchRandomCrop(6, padding=2, pad_value=7)(images)
    assert_close(images, kept)
    assert crops.shape == images.shape and crops.dtype == torch.uint8
    padded = np.pad(image[0].numpy(), ((0, 0), (2, 2), (2, 2)), constant_values=7)
    counts = np.zeros((5, 5))
    for crop in crops.numpy():
        (place,) = crop_places(padded, 6, crop)
        counts[place] += 1
    assert chisquare(counts.ravel()).pvalue > RARE


def test_crops_follow_the_hosts_distribution():
    """MMPretrain's own crops of the same image: the same places, at the same rates."""
    pytest.importorskip('mmpretrain')
    from mmpretrain.datasets.transforms import RandomCrop, RandomFlip  # noqa: F401

    np.random.seed(0)
    image = numbered(1, 4)
    host = RandomCrop(crop_size=4, padding=1)
    theirs = [
        host.transform(dict(img=image[0].permute(1, 2, 0).numpy()))['img'].transpose(2, 0, 1)
        for _ in range(1500)
    ]
    ours = BatchRandomCrop(4, padding=1)(image.expand(1500, -1, -1, -1)).numpy()
    rates = []
    for crops in (theirs, ours):
        kinds = {crop.tobytes(): 0 for crop in theirs}
        for crop in crops:
            kinds[np.ascontiguousarray(crop).tobytes()] += 1
        rates.append(list(kinds.values()))
    assert len(rates[0]) == 9
    for counts in rates:
        assert chisquare(counts).pvalue > RARE


def test_each_image_of_a_batch_keeps_its_place_and_its_channels():
    images = numbered(5, 8)
    crops = BatchRandomCrop(3)(images)  # no padding, smaller than the image
    for image, crop in zip(images.numpy(), crops.numpy()):
        assert crop_places(image, 3, crop)
    wide = numbered(1, 12)[:, :, :5].expand(40, -1, -1, -1)
    places = {crop_places(wide[0].numpy(), 4, crop)[0] for crop in BatchRandomCrop(4)(wide).numpy()}
    assert {top for top, _ in places} == {0, 1}
    assert {left for _, left in places} == set(range(9))


def test_flips_are_independent_of_each_other():
    images = numbered(4000, 2)
    flipped = BatchRandomFlip(0.3)(images)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) ^ mirrored).all()
    assert binomtest(int(mirrored.sum()), 4000, 0.3).pvalue > RARE
    pairs = mirrored.view(2, -1)  # whether one flips says nothing about another one
    both = int((pairs[0] & pairs[1]).sum())
    assert binomtest(both, 2000, 0.09).pvalue > RARE
    assert_close(BatchRandomFlip(0)(images), images)
    assert_close(BatchRandomFlip(1)(images), images.flip(-1))


def square(image_side, size, row, column):
    """Mask of the pixels that CutOut around a pixel blanks, pixel by pixel."""
    mask = np.zeros((image_side, image_side), bool)
    for y in range(row - size // 2, row - size // 2 + size):
        for x in range(column - size // 2, column - size // 2 + size):
            if 0 <= y < image_side and 0 <= x < image_side:
                mask[y, x] = True
    return mask


def cut_by_batch(image, size, count):
    images = torch.from_numpy(image).permute(2, 0, 1)[None].expand(count, -1, -1, -1)
    return BatchCutOut(size)(images).permute(0, 2, 3, 1).numpy()


def cut_by_image(image, size, count):
    transform = CutOutSquare(size)
    return np.stack([transform(dict(img=image))['img'] for _ in range(count)])


@pytest.mark.parametrize('cut', [cut_by_batch, cut_by_image])
@pytest.mark.parametrize('size', [3, 4])
def test_cut_out_is_centred_on_a_uniform_pixel_and_clipped(cut, size):
    image = numbered(1, 6)[0].permute(1, 2, 0).numpy()
    # Around pixels near a corner the clipped squares of an even size coincide.
    expected = {}
    for row in range(6):
        for column in range(6):
            mask = square(6, size, row, column)
            expected[mask.tobytes()] = expected.get(mask.tobytes(), 0) + 1
    counts = dict.fromkeys(expected, 0)
    before = image.copy()
    count = 1800
    for result in cut(image, size, count):
        mask = (result == 0).all(2)
        assert (result[~mask] == image[~mask]).all()
        counts[mask.tobytes()] += 1
    assert (image == before).all()
    shares = np.array(list(expected.values())) / 36
    assert chisquare(list(counts.values()), shares * count).pvalue > RARE


def test_the_hosts_cut_others():
    """Why CutOutSquare exists: the shares of the squares that touch the upper left corner."""
    pytest.importorskip('mmdet')
    import mmcv
    from mmdet.datasets.transforms import CutOut

    np.random.seed(0)
    image = np.ones((8, 8, 3), np.uint8)
    mmdet_cut = CutOut(n_holes=1, cutout_shape=(4, 4))

    def area(results):
        return [int((result[..., 0] == 0).sum()) for result in results]

    ours = area(cut_by_image(image, 4, 2000))
    mmpretrain = area(mmcv.cutout(image, 4) for _ in range(2000))
    mmdet = area(mmdet_cut.transform(dict(img=image.copy()))['img'] for _ in range(2000))
    # Centres 0..7 leave 2, 3, 4, 4, 4, 4, 4, 3 rows; a host's Cutout never fewer above or left.
    exact = np.mean([2, 3, 4, 4, 4, 4, 4, 3]) ** 2
    assert np.mean(ours) == pytest.approx(exact, abs=0.25)
    assert np.mean(mmpretrain) > exact + 0.5
    assert np.mean(mmdet) < exact - 0.5  # corners 0..7 leave 4, 4, 4, 4, 4, 3, 2, 1


def test_filled_with_the_mean_the_square_is_zero_after_normalisation():
    mean, std = [125.307, 122.961, 113.8575], [51.5865, 50.847, 51.255]
    images = numbered(20, 8)
    kept = images.float()
    by_image = [
        torch.from_numpy(
            CutOutSquare(4, mean)(dict(img=image.permute(1, 2, 0).numpy()))['img']
        ).permute(2, 0, 1)
        for image in images
    ]
    for cut in (BatchCutOut(4, mean)(images), torch.stack(by_image)):
        normalised = (cut - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        blank = (normalised == 0).all(1)
        assert int(blank.sum((1, 2)).min()) >= 4 and int(blank.sum((1, 2)).max()) == 16
        assert_close(cut.permute(0, 2, 3, 1)[~blank], kept.permute(0, 2, 3, 1)[~blank])
    whole = BatchCutOut(4, [125, 123, 114])(images)
    assert whole.dtype == torch.uint8


def test_draws_come_from_the_generator_alone():
    images = numbered(30, 6)
    for transform in (BatchRandomCrop(6, 2), BatchRandomFlip(), BatchCutOut(3)):
        results = []
        for seed in (1, 1, 2):
            before = torch.get_rng_state()
            results.append(transform(images, torch.Generator().manual_seed(seed)))
            assert_close(torch.get_rng_state(), before)
        assert_close(results[0], results[1])
        assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: BatchRandomCrop(0), '`crop_size` must be a positive integer, but got 0'),
        (lambda: BatchRandomCrop(4, -1), '`padding` must be 0 or a positive integer, but got -1'),
        (lambda: BatchRandomCrop(9, 1)(numbered(1, 6)), '`crop_size` must be at most .* 8'),
        (lambda: BatchRandomFlip(1.5), r'`prob` must be in \[0, 1\], but got 1.5'),
        (lambda: BatchCutOut(0), '`size` must be a positive integer'),
        (lambda: BatchCutOut(2, [1, 2])(numbered(1, 6)), '`fill` must be one value .* 3 channels'),
        (lambda: CutOutSquare(0), '`size` must be a positive integer'),
        (
            lambda: CutOutSquare(2, [1, 2])(dict(img=np.ones((4, 4, 3)))),
            '`fill` must be one value .* 3 channels',
        ),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
