"""Images: every mode that a photo comes in, and every way in which a file can be broken."""

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest

from kdistill.data import Image, ImageSet, UnreadableImage, load_pixels, resize
from kdistill.errors import KdistillError


def _photo(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    source = PIL.Image.fromarray(_photo())
    sixteen_bit = PIL.Image.fromarray(np.full((20, 30), 0x8000, np.uint16))
    image = sixteen_bit if mode == "I;16" else source.convert(mode)
    path = tmp_path / ("photo.tif" if mode in ("CMYK", "I;16") else "photo.png")
    image.save(path)
    pixels = Image("photo", path=path).pixels()
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    if mode == "I;16":
        # The upper eight bits of half the range, not a clipped 255.
        np.testing.assert_array_equal(pixels, 0x80)
    if mode == "RGB":
        np.testing.assert_array_equal(pixels, _photo())


def test_exif_rotation_is_applied(tmp_path):
    upright = _photo()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    PIL.Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(Image("turned", path=tmp_path / "turned.png").pixels(), upright)


def test_box_crops_and_changes_the_hash(tmp_path):
    PIL.Image.fromarray(_photo()).save(tmp_path / "photo.png")
    whole = Image("photo", path=tmp_path / "photo.png")
    part = Image("photo", path=tmp_path / "photo.png", box=(3.0, 4.0, 13.0, 10.0))
    np.testing.assert_array_equal(part.pixels(), _photo()[4:10, 3:13])
    assert whole.content_hash() != part.content_hash()


def test_hash_is_of_the_content_not_of_the_name(tmp_path):
    for name in ("a.png", "b.png"):
        PIL.Image.fromarray(_photo()).save(tmp_path / name)
    first, second = Image("a", path=tmp_path / "a.png"), Image("b", path=tmp_path / "b.png")
    assert first.content_hash() == second.content_hash()
    assert first.content_hash() != Image("c", array=_photo(seed=1)).content_hash()


def test_broken_files_are_named(tmp_path):
    buffer = io.BytesIO()
    PIL.Image.fromarray(_photo(200, 200)).save(buffer, format="JPEG")
    (tmp_path / "truncated.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("truncated.jpg", "text.jpg", "empty.jpg", "missing.jpg"):
        with pytest.raises(UnreadableImage, match=name):
            Image(name, path=tmp_path / name).pixels()


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    PIL.Image.fromarray(_photo()).save(tmp_path / "large.png")
    image = Image("large.png", path=tmp_path / "large.png", max_megapixels=0.0005)
    with pytest.raises(UnreadableImage, match=r"30 x 20 pixels .* more than the 0\.0005 million .* --max_megapixels"):
        image.pixels()
    assert dataclasses.replace(image, max_megapixels=0.0006).pixels().shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("ä\u2028\n%s?.jpg", "ä\u2028\n%s?.jpg"),
        ("a\udcff.jpg", "a\\xff.jpg"),
        ("\udce4\udc80ä", "\\xe4\\x80ä"),
        ("\ud800", "\\ud800"),
    ],
)
def test_every_id_is_a_text(name, expected):
    image = Image(name, array=_photo())
    assert image.id == expected
    assert image.id.encode().decode() == expected


def test_resize_is_pillows_antialiased_bilinear():
    pixels = _photo(40, 60)
    expected = np.asarray(PIL.Image.fromarray(pixels).resize((16, 16), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize(pixels, 16), expected)
    assert resize(_photo(16, 16), 16).base is None or resize(_photo(16, 16), 16).shape == (16, 16, 3)


def test_set_refuses_repeated_ids_and_odd_labels():
    one = Image("a", array=_photo())
    with pytest.raises(KdistillError, match="'a' stands more than once"):
        ImageSet([one, one])
    with pytest.raises(KdistillError, match="1 images were given with 2 labels"):
        ImageSet([one], [1, 2])


def test_subset_keeps_labels_in_order():
    images = ImageSet([Image(str(n), array=_photo(seed=n)) for n in range(4)], [10, 11, 12, 13])
    part = images.subset([3, 1])
    assert part.ids == ("3", "1")
    assert part.labels.tolist() == [13, 11]
    assert part.without_labels().labels is None


def test_load_skips_counts_and_stops_under_strict(tmp_path):
    (tmp_path / "bad.jpg").write_text("no")
    images = ImageSet([Image("good", array=_photo()), Image("bad.jpg", path=tmp_path / "bad.jpg")])
    loaded = load_pixels(images, 8)
    assert loaded.pixels.shape == (1, 8, 8, 3)
    assert loaded.indices.tolist() == [0]
    assert loaded.skipped[0][0] == "bad.jpg"
    with pytest.raises(UnreadableImage, match=r"bad\.jpg"):
        load_pixels(images, 8, strict=True)
    with pytest.raises(UnreadableImage, match="none of the 1 images"):
        load_pixels(images.subset([1]), 8)
