"""Embedding in memory and at several scales."""

import keras
import numpy as np
import PIL.Image
import pytest

from kdistill import students
from kdistill.data.images import Image, ImageSet, UnreadableImage, resize
from kdistill.errors import ArgumentError
from kdistill.evaluation import embed_images
from kdistill.evaluation.multiscale import embed_multiscale, parse_scales


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seven JPEG files of different sizes; the fourth is damaged and the sixth missing."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    images = []
    for number in range(7):
        path = folder / f"{number}.jpg"
        coarse = random.integers(0, 256, (4, 5, 3), np.uint8)
        PIL.Image.fromarray(coarse).resize((40 + number, 30)).save(path)
        images.append(Image(path.name, path=path))
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:200])
    (folder / "5.jpg").unlink()
    return ImageSet(images)


@pytest.fixture(scope="module")
def student():
    keras.utils.set_random_seed(0)
    return students.build("small_cnn", image_size=16, embedding_dim=6)


GOOD = [0, 1, 2, 4, 6]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_rows_are_those_of_pillows_resize(photos, student, batch_size):
    embedded = embed_images(student, photos, image_size=16, batch_size=batch_size)
    pixels = np.stack([resize(photos[i].pixels(), 16) for i in GOOD])
    np.testing.assert_allclose(embedded.embeddings, student(pixels).numpy(), atol=1e-5)
    assert embedded.indices.tolist() == GOOD
    assert [name for name, _ in embedded.skipped] == ["3.jpg", "5.jpg"]
    # Different photos have different embeddings, so the comparison says something.
    assert np.ptp(embedded.embeddings, axis=0).max() > 0.01


def test_a_fixed_batch_is_padded(photos, student):
    fixed = students.at_batch(student, 4)
    expected = embed_images(student, photos, image_size=16).embeddings
    np.testing.assert_allclose(embed_images(fixed, photos, image_size=16).embeddings, expected, atol=1e-5)


def test_any_function_can_embed(photos):
    embedded = embed_images(lambda pixels: pixels.mean((1, 2)), photos, image_size=8)
    np.testing.assert_allclose(embedded.embeddings[3], resize(photos[4].pixels(), 8).mean((0, 1)), rtol=1e-6)


def test_strict_stops_at_the_first_unreadable_image(photos, student):
    with pytest.raises(UnreadableImage, match=r"3\.jpg"):
        embed_images(student, photos, image_size=16, strict=True)


def test_nothing_readable(photos, student):
    with pytest.raises(UnreadableImage, match="none of the 2 images can be read"):
        embed_images(student, photos.subset([3, 5]), image_size=16)
    with pytest.raises(UnreadableImage, match="the list is empty"):
        embed_images(student, ImageSet([]), image_size=16)


def test_scales_are_averaged_and_normalised(photos, student):
    embedded = embed_multiscale(student, photos, scales=(1, 1.5))
    at_sizes = []
    for size in (16, 24):
        pixels = np.stack([resize(photos[i].pixels(), size) for i in GOOD])
        at_sizes.append(students.at_size(student, size)(pixels).numpy())
    total = sum(at_sizes)
    np.testing.assert_allclose(embedded.embeddings, total / np.linalg.norm(total, axis=1, keepdims=True), atol=1e-5)
    assert embedded.indices.tolist() == GOOD
    assert np.abs(at_sizes[0] - at_sizes[1]).max() > 1e-3


def test_scales_are_read_from_a_flag():
    assert parse_scales("1,0.7071,0.5") == (1.0, 0.7071, 0.5)


@pytest.mark.parametrize("text", ["", "a", "1,1", "0", "-1", "nan", "9"])
def test_scales_that_make_no_sense(text):
    with pytest.raises(ArgumentError):
        parse_scales(text)
