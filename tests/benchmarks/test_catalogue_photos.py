"""Photos of a catalogue: distinct, readable, the same from whichever size or state they are made."""

import hashlib

import numpy as np
import PIL.Image
import pytest

from benchmarks.catalogue import photos
from benchmarks.catalogue.photos import drawn_photo, make_photos, photo_name, source_of
from kdistill.errors import KdistillError


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for number, size in enumerate(((40, 30), (30, 40), (35, 35))):
        small = PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        small.resize(size).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def made(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    return folder, make_photos(sources, folder, 12, seed=3, long_side=48, workers=1)


def test_photos_are_distinct_jpeg_files_of_the_size(made):
    folder, labels = made
    files = [folder / photo_name(number) for number in range(12)]
    assert len({hashlib.sha256(file.read_bytes()).digest() for file in files}) == 12
    for file in files:
        with PIL.Image.open(file) as photo:
            assert photo.format == "JPEG"
            assert max(photo.size) == 48
            assert min(photo.size) >= 36
    assert labels.tolist() == [source_of(number, 3, 3) for number in range(12)]


def test_a_photo_depends_on_seed_and_number_alone(sources, made):
    folder, _ = made
    paths = sorted(sources.iterdir())
    for number in (0, 7):
        content = (folder / photo_name(number)).read_bytes()
        assert drawn_photo(paths, number, seed=3, long_side=48) == content
        assert drawn_photo(paths, number, seed=4, long_side=48) != content


def test_what_is_there_is_kept_and_repeats_are_drawn_again(sources, tmp_path):
    first = tmp_path / photo_name(0)
    first.parent.mkdir(parents=True)
    paths = sorted(sources.iterdir())
    # The draw of photo 1 stands there already, as photo 0.
    first.write_bytes(drawn_photo(paths, 1, seed=3, long_side=48))
    make_photos(sources, tmp_path, 2, seed=3, long_side=48, workers=1)
    assert first.read_bytes() == drawn_photo(paths, 1, seed=3, long_side=48)
    assert (tmp_path / photo_name(1)).read_bytes() == drawn_photo(paths, 1, seed=3, long_side=48, attempt=1)


def test_sources_that_give_no_distinct_photos_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "_TRIES", 3)
    (tmp_path / "sources").mkdir()
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "sources" / "black.png")  # all crops and colours of it are black
    with pytest.raises(KdistillError, match="1 photos are too few or too plain to draw 40 distinct ones"):
        make_photos(tmp_path / "sources", tmp_path / "made", 40, long_side=8, workers=1)
