"""Photos from the disk: to the last bit what an array of all of them gives, whatever is kept, killed or unreadable."""

import os

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kdistill.data import Image, ImageSet, load_pixels
from kdistill.data.decoding import UnreadableImage, resize
from kdistill.data.disk import photos as photos_module
from kdistill.data.disk import stores
from kdistill.data.disk.photos import LOOKED_AT, Photos, key_of, rows_looked_at
from kdistill.data.disk.stores import KEY_BYTES, DiskStore, MemoryStore
from kdistill.data.identity import identities
from kdistill.data.pipeline import training_batches

SIZE = 20
TARGETS = np.random.default_rng(1).normal(size=(11, 3)).astype(np.float32)
ROW = 3 * SIZE * SIZE


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for number in range(11):
        path = tmp_path / f"{number}.png"
        PIL.Image.fromarray(rng.integers(0, 256, (24 + number, 30, 3), np.uint8)).save(path)
        made.append(Image(path.name, path=path))
    return ImageSet(made)


def _digests(images):
    return list(identities(images).values())


def _disk(folder, images, size=SIZE, limit=10**9, **options):
    keys = {key_of(digest) for digest in _digests(images)} - {None}
    return DiskStore(folder, size, limit=limit, keys=keys, wanted=len(keys), made={}, **options)


def _photos(images, store, **options):
    return Photos(images, SIZE, store, _digests(images), **options)


def _batches(pixels, targets=TARGETS, first=0, augment=True):
    dataset = training_batches(
        pixels, targets, batch_size=4, image_size=16, first_step=first, last_step=7, seed=3, augment=augment
    )
    return [[part.numpy() for part in (images, answers, ids)] for images, (answers, ids) in dataset]


def _assert_equal(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        for part, same in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, same)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("room", ["disk", "a part of the disk", "memory", "a part of the memory", "nowhere"])
def test_batches_are_those_of_an_array(images, tmp_path, room, augment):
    store = {
        "disk": lambda: _disk(tmp_path / "kept", images),
        "a part of the disk": lambda: _disk(tmp_path / "kept", images, limit=5 * ROW),
        "memory": lambda: MemoryStore(11, SIZE),
        "a part of the memory": lambda: MemoryStore(5, SIZE),
        "nowhere": lambda: MemoryStore(0, SIZE),
    }[room]()
    expected = _batches(load_pixels(images, SIZE).pixels, augment=augment)
    photos = _photos(images, store)
    for _ in range(2):  # filled, and full
        _assert_equal(_batches(photos, augment=augment), expected)
    _assert_equal(_batches(photos, first=5, augment=augment), expected[5:])


def test_a_later_run_decodes_nothing_again(images, tmp_path):
    store = _disk(tmp_path / "kept", images)
    expected = _batches(_photos(images, store))
    store.finish()
    digests = _digests(images)
    for image in images:
        image.path.unlink()
    again = Photos(images, SIZE, _disk_of(tmp_path / "kept", digests), digests)
    _assert_equal(_batches(again), expected)


def _disk_of(folder, digests, limit=10**9):
    keys = {key_of(digest) for digest in digests}
    return DiskStore(folder, SIZE, limit=limit, keys=keys, wanted=len(keys), made={})


def test_photos_are_known_by_their_content(images, tmp_path):
    store = _disk(tmp_path / "kept", images)
    _photos(images, store).look(np.arange(11), SIZE).finish()
    store.finish()
    one, other = images[0].path, images[1].path
    one.write_bytes(other.read_bytes())  # another photo under the name; a size that the store holds already
    now = _photos(images, _disk(tmp_path / "kept", images))
    np.testing.assert_array_equal(now[0], resize(images[1].pixels(), SIZE))
    np.testing.assert_array_equal(now[2], resize(images[2].pixels(), SIZE))
    assert (tmp_path / "kept" / f"{SIZE}.pixels").stat().st_size == 11 * ROW


def test_a_row_counts_only_once_its_key_is_written(images, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "_STRETCH", 4)
    store = _disk(tmp_path / "kept", images)
    photos = _photos(images, store)
    for row in range(6):
        photos[row]
    # Killed here: four keys are on the disk, of six rows.
    keys = tmp_path / "kept" / f"{SIZE}.keys"
    assert keys.stat().st_size == 4 * KEY_BYTES
    with open(keys, "ab") as file:
        file.write(b"half a")
    pixels = tmp_path / "kept" / f"{SIZE}.pixels"
    os.truncate(pixels, 5 * ROW + 7)
    again = _photos(images, _disk(tmp_path / "kept", images))
    for row in range(11):
        np.testing.assert_array_equal(again[row], resize(images[row].pixels(), SIZE))
    again.store.finish()
    assert keys.read_bytes() == b"".join(key_of(digest) for digest in _digests(images))
    assert pixels.stat().st_size == 11 * ROW


@pytest.mark.parametrize("limit", [0, 4 * ROW, 4 * ROW + 1])
def test_the_folder_stays_within_its_limit(images, tmp_path, limit):
    store = _disk(tmp_path / "kept", images, limit=limit)
    _photos(images, store).look(np.arange(11), SIZE).finish()
    assert (tmp_path / "kept" / f"{SIZE}.pixels").stat().st_size == limit // ROW * ROW


def test_another_size_counts_too(images, tmp_path):
    store = _disk(tmp_path / "kept", images)
    _photos(images, store).look(np.arange(11), SIZE).finish()
    other = _disk(tmp_path / "kept", images, size=10, limit=11 * ROW + 3 * 300)
    Photos(images, 10, other, _digests(images)).look(np.arange(11), 10).finish()
    assert (tmp_path / "kept" / "10.pixels").stat().st_size == 3 * 300


def test_photos_of_an_earlier_set_make_room(images, tmp_path):
    first, second = images.subset(range(6)), images.subset(range(6, 11))
    store = _disk(tmp_path / "kept", first)
    _photos(first, store).look(np.arange(6), SIZE).finish()
    store.finish()
    later = _disk(tmp_path / "kept", second, limit=8 * ROW)
    _photos(second, later).look(np.arange(5), SIZE).finish()
    later.finish()
    assert (tmp_path / "kept" / f"{SIZE}.keys").stat().st_size == 5 * KEY_BYTES
    for digest, image in zip(_digests(second), second, strict=True):
        np.testing.assert_array_equal(later.get(key_of(digest)), resize(image.pixels(), SIZE))


def test_what_was_decoded_in_another_way_is_not_used(images, tmp_path):
    store = _disk(tmp_path / "kept", images)
    _photos(images, store).look(np.arange(11), SIZE).finish()
    store.finish()
    keys = {key_of(digest) for digest in _digests(images)}
    other = DiskStore(tmp_path / "kept", SIZE, limit=10**9, keys=keys, wanted=11, made={"max_megapixels": 2.0})
    assert all(other.get(key) is None for key in keys)


def test_a_full_disk_ends_the_keeping_and_not_the_work(images, tmp_path, monkeypatch):
    store = _disk(tmp_path / "kept", images)
    photos = _photos(images, store)
    photos[0]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    np.testing.assert_array_equal(photos[1], resize(images[1].pixels(), SIZE))
    monkeypatch.undo()
    np.testing.assert_array_equal(photos[2], resize(images[2].pixels(), SIZE))
    assert store.get(key_of(_digests(images)[2])) is None
    np.testing.assert_array_equal(store.get(key_of(_digests(images)[0])), resize(images[0].pixels(), SIZE))


def test_the_next_photo_takes_the_place_of_one_that_cannot_be_read(images):
    images[4].path.write_bytes(b"no image")
    images[10].path.unlink()
    photos = _photos(images, MemoryStore(11, SIZE))
    taken = {4: 5, 10: 0}
    for pixels, answers, ids in _batches(photos, augment=False):
        assert not set(ids) & set(taken)
        for row, view, answer in zip(ids, pixels, answers, strict=True):
            np.testing.assert_array_equal(answer, TARGETS[row])
            whole = load_pixels(images.subset([row]), SIZE).pixels
            expected = tf.image.resize(whole[0], (16, 16), antialias=True)
            np.testing.assert_array_equal(view, np.round(expected).astype(np.uint8))
    wanted = np.concatenate([ids for _, _, ids in _batches(np.zeros((11, 16, 16, 3), np.uint8), augment=False)])
    seen = np.concatenate([ids for _, _, ids in _batches(photos, augment=False)])
    assert seen.tolist() == [taken.get(row, row) for row in wanted]


def test_strict_stops_and_so_do_photos_of_which_none_can_be_read(images):
    images[4].path.write_bytes(b"no image")
    photos = _photos(images, MemoryStore(11, SIZE), strict=True)
    with pytest.raises(UnreadableImage, match=r"4\.png"):
        photos.from_row(4)
    assert "4.png" in str(photos.failure)
    with pytest.raises(UnreadableImage, match=r"4\.png"):
        photos.look(np.arange(11), SIZE).finish()
    for image in images:
        image.path.write_bytes(b"")
    with pytest.raises(UnreadableImage, match="none of the 11 images can be read"):
        _photos(images, MemoryStore(11, SIZE)).from_row(3)
    with pytest.raises(UnreadableImage, match="none of the 11 images can be read"):
        _photos(images, MemoryStore(11, SIZE)).look(np.arange(11), SIZE).finish()


def test_a_look_gives_the_readable_photos_at_another_size_and_keeps_them(images, monkeypatch):
    monkeypatch.setattr(photos_module, "_BLOCK", 4)
    images[4].path.write_bytes(b"no image")
    photos = _photos(images, MemoryStore(11, SIZE))
    look = photos.look(np.arange(11), 8)
    blocks = list(look.blocks())
    expected = load_pixels(images, 8)
    assert [len(block) for block in blocks] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), expected.pixels)
    np.testing.assert_array_equal(look.rows, expected.indices)
    assert [name for name, _ in look.skipped] == ["4.png"]
    subset = photos.subset(look.rows)
    assert subset.images.ids == tuple(images.ids[row] for row in look.rows)
    expected = load_pixels(images, SIZE).pixels
    for row in look.rows:
        images[int(row)].path.unlink()
    np.testing.assert_array_equal([subset[row] for row in range(10)], expected)


def test_the_digest_is_of_content_size_and_order(images):
    photos = _photos(images, MemoryStore(0, SIZE))
    assert photos.digest == _photos(images, MemoryStore(11, SIZE)).digest
    assert photos.digest != Photos(images, 8, MemoryStore(0, 8), _digests(images)).digest
    assert photos.digest != photos.subset(np.arange(11)[::-1]).digest
    before = photos.digest
    images[3].path.write_bytes(images[2].path.read_bytes())
    assert _photos(images, MemoryStore(0, SIZE)).digest != before


@pytest.mark.parametrize("count", [1, LOOKED_AT - 1, LOOKED_AT, LOOKED_AT + 1, 2 * LOOKED_AT, 100_003])
@pytest.mark.parametrize("most", [None, 7])
def test_what_is_looked_at_is_spread_over_the_pool(count, most):
    rows, limit = rows_looked_at(count, most), most or LOOKED_AT
    assert rows[0] == 0
    assert len(set(np.diff(rows))) <= 1
    assert limit // 2 < len(rows) <= limit or len(rows) == count < limit
    assert count - rows[-1] <= -(-count // limit)
