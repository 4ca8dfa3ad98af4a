"""Occlusion against a loop over cells, of an output that is no sum of parts."""

import numpy as np
import pytest

from featcache.explanations.occlusion import MOST, cells_of, mean_colour, occlusion_heat
from featcache.images.transforms import Transforms


def outputs(batch):
    assert len(batch) == MOST  # one size, one program
    x = batch.astype(np.float64) / 255
    first = np.tanh(x[:, :6, :6].sum(axis=(1, 2, 3)) / 9) * x[..., 1].mean(axis=(1, 2))
    return np.stack([first, x[..., 2].max(axis=(1, 2)), -first], axis=1)


@pytest.mark.parametrize("size", [(16, 16), (13, 22)])
def test_each_cell_has_the_mean_fall_of_the_squares_over_it(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    fill = np.array([10, 20, 30], np.uint8)
    heat = occlusion_heat(outputs, image, np.array([0, 2]), fill=fill, cells=5)
    side, rows, columns = cells_of(size, 5)
    assert heat.shape == (2, rows, columns)

    def output(picture):
        return outputs(np.stack([picture] * MOST))[0]

    for row in range(rows):
        for column in range(columns):
            falls = []
            for top in (row - 1, row):
                for left in (column - 1, column):
                    hidden = image.copy()
                    for y in range(size[0]):
                        for x in range(size[1]):
                            if top <= y // side <= top + 1 and left <= x // side <= left + 1:
                                hidden[y, x] = fill
                    falls.append(output(image) - output(hidden))
            expected = np.mean(falls, axis=0)
            np.testing.assert_allclose(heat[:, row, column], expected[[0, 2]], atol=1e-6)


def test_what_hides_is_the_colour_that_the_network_takes_for_nothing():
    usual = Transforms(
        input_size=(8, 8), crop_mode="squash", interpolation="bilinear", mean=(0.2, 0.4, 0.8), std=(1, 1, 1)
    )
    assert mean_colour(usual).tolist() == [51, 102, 204]
    import dataclasses

    assert mean_colour(dataclasses.replace(usual, channel_order="bgr")).tolist() == [51, 102, 204]


def test_heads_without_a_gradient_are_explained_by_it(tmp_path):
    from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos

    from featcache import explain
    from featcache.errors import UsageError

    with registered():
        photos = tiny_photos(tmp_path / "photos")
        classifier = tiny_classifier(tiny_network(), photos, head="knn")
        file = sorted(photos.glob("test/*/*"))[0]
        shown = explain(classifier, file, neighbours=0)
        assert (shown.method, shown.exact, shown.gap) == ("occlusion", False, None)
        heat = shown.photos[0].heats[0]
        assert heat.map.shape == (16, 16)
        with pytest.raises(
            UsageError, match=r"grad-cam needs a head with a gradient.*ask for --method occlusion"
        ):
            explain(classifier, file, method="grad-cam")
