"""An embedding job notices images that were replaced, added or removed, and embeds only those again."""

import json
import os

import numpy as np
import PIL.Image
import pytest
from absl import logging

from kdistill.data.images import Image, ImageSet
from kdistill.data.layouts.folder import find_images
from kdistill.errors import KdistillError
from kdistill.evaluation.embed.job import embed_to_folder
from kdistill.evaluation.embed.shards import Shard, merge_shards
from kdistill.runtimes.embedders import Embedder


@pytest.fixture
def photos(tmp_path):
    """Six photos of one colour each, of which d.png cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate("abcdef"):
        paint(folder / f"{name}.png", 10 * number)
    (folder / "d.png").write_bytes(b"no image")
    return folder


def paint(path, value: int) -> None:
    """The value stands in the file's size too, so that a coarse clock hides nothing."""
    PIL.Image.new("RGB", (8 + value % 7, 8), (value, value, value)).save(path)


class Counting:
    """Mean colours; counts what it embeds, and dies at the n-th image where it is told to."""

    def __init__(self, dies_at: int = 0):
        self.seen, self.dies_at = [], dies_at

    def __call__(self, pixels):
        for image in pixels:
            if len(self.seen) + 1 == self.dies_at:
                raise KeyboardInterrupt
            self.seen.append(int(image[0, 0, 0]))
        return pixels.mean((1, 2), dtype=np.float32)


def run(images, out, *, embed=None, **options):
    embed = embed or Counting()
    result = embed_to_folder(Embedder(embed, 8, 1), images, out, fingerprint="x", batch_size=1, stretch=1, **options)
    rows = np.load(result.embeddings)[:, 0].astype(int).tolist()
    return dict(zip(result.ids.read_text().split(), rows, strict=True)), embed.seen, result


EVERYTHING = {"a.png": 0, "b.png": 10, "c.png": 20, "e.png": 40, "f.png": 50}


def replaced(folder):
    paint(folder / "b.png", 99)
    return EVERYTHING | {"b.png": 99}, [99], "1 replaced"


def touched_only(folder):
    os.utime(folder / "e.png", ns=(1, 1))
    return EVERYTHING, [40], "1 replaced"


def added(folder):
    paint(folder / "bb.png", 77)
    return dict(sorted((EVERYTHING | {"bb.png": 77}).items())), [77], "1 added"


def removed(folder):
    (folder / "a.png").unlink()
    return {name: value for name, value in EVERYTHING.items() if name != "a.png"}, [], "1 removed"


def mended(folder):
    paint(folder / "d.png", 30)
    return dict(sorted((EVERYTHING | {"d.png": 30}).items())), [30], "1 replaced"


def broken(folder):
    (folder / "f.png").write_bytes(b"no image any more")
    return {name: value for name, value in EVERYTHING.items() if name != "f.png"}, [], "1 replaced"


def all_of_it(folder):
    paint(folder / "c.png", 88)
    paint(folder / "g.png", 60)
    (folder / "a.png").unlink()
    rest = {name: value for name, value in EVERYTHING.items() if name != "a.png"}
    return rest | {"c.png": 88, "g.png": 60}, [88, 60], "1 replaced, 1 added, 1 removed"


CHANGES = [replaced, touched_only, added, removed, mended, broken, all_of_it]


@pytest.mark.parametrize("change", CHANGES)
def test_a_finished_job_follows(photos, tmp_path, caplog, change):
    out = tmp_path / "out"
    assert run(find_images(photos), out)[0] == EVERYTHING
    expected, again, words = change(photos)
    caplog.clear()
    with caplog.at_level("WARNING", logger=logging.get_absl_logger().name):
        rows, seen, _ = run(find_images(photos), out)
    assert (rows, seen) == (expected, again)
    assert [words in record.getMessage() for record in caplog.records] == [True]
    rows, seen, result = run(find_images(photos), out)
    assert (rows, seen, result.resumed_at) == (expected, [], len(find_images(photos)))
    assert not (out / "previous.json").exists()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("dies_at", [1, 3, 5])
def test_an_unfinished_job_follows(photos, tmp_path, change, dies_at):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(find_images(photos), out, embed=Counting(dies_at))
    expected, _, _ = change(photos)
    assert run(find_images(photos), out)[0] == expected


def test_a_job_that_dies_while_it_follows_continues(photos, tmp_path):
    out = tmp_path / "out"
    run(find_images(photos), out)
    expected, _, _ = all_of_it(photos)
    with pytest.raises(KeyboardInterrupt):
        run(find_images(photos), out, embed=Counting(2))
    rows, seen, _ = run(find_images(photos), out)
    assert (rows, seen) == (expected, [60])


def test_images_that_change_again_while_the_job_follows(photos, tmp_path):
    out = tmp_path / "out"
    run(find_images(photos), out)
    all_of_it(photos)
    with pytest.raises(KeyboardInterrupt):
        run(find_images(photos), out, embed=Counting(2))
    paint(photos / "b.png", 66)
    rows, seen, _ = run(find_images(photos), out)
    assert rows == {"b.png": 66, "c.png": 88, "e.png": 40, "f.png": 50, "g.png": 60}
    assert 66 in seen
    assert 40 not in seen
    assert 50 not in seen


def test_pixels_in_memory_are_known_by_their_content(tmp_path):
    def images(value):
        return ImageSet([Image(name, array=np.full((8, 8, 3), n * value, np.uint8)) for n, name in enumerate("xyz")])

    assert run(images(1), tmp_path)[1] == [0, 1, 2]
    assert run(images(1), tmp_path)[1] == []
    assert run(images(5), tmp_path)[:2] == ({"x": 0, "y": 5, "z": 10}, [5, 10])


def test_shards_follow_too_and_join_only_when_all_have(photos, tmp_path):
    out = tmp_path / "out"
    for index in range(2):
        run(find_images(photos), out, shard=Shard(index, 2))
    expected, _, _ = added(photos)
    paint(photos / "bc.png", 78)
    expected = dict(sorted((expected | {"bc.png": 78}).items()))
    run(find_images(photos), out, shard=Shard(0, 2))
    with pytest.raises(KdistillError, match="from different images"):
        merge_shards(out, 2)
    run(find_images(photos), out, shard=Shard(1, 2))
    merged = merge_shards(out, 2)
    rows = np.load(merged.embeddings)[:, 0].astype(int).tolist()
    assert dict(zip(merged.ids.read_text().split(), rows, strict=True)) == expected


def test_a_kill_between_the_record_and_the_name_of_the_matrix_loses_nothing(photos, tmp_path):
    out = tmp_path / "out"
    run(find_images(photos), out)
    (out / "embeddings.npy").rename(out / "embeddings.npy.partial")
    assert run(find_images(photos), out)[:2] == (EVERYTHING, [])


@pytest.mark.parametrize("dies_at", [0, 3])
def test_rows_that_were_deleted_are_made_again_and_never_zero(photos, tmp_path, dies_at):
    out = tmp_path / "out"
    try:
        run(find_images(photos), out, embed=Counting(dies_at))
    except KeyboardInterrupt:
        (out / "embeddings.npy.partial").unlink()
    else:
        (out / "embeddings.npy").unlink()
    assert run(find_images(photos), out)[:2] == (EVERYTHING, list(EVERYTHING.values()))


def test_a_damaged_list_of_images_is_named(photos, tmp_path):
    run(find_images(photos), tmp_path)
    (tmp_path / "images.json").write_text(json.dumps({"ids": ["a"], "stamps": []}))
    with pytest.raises(KdistillError, match=r"images\.json is damaged"):
        run(find_images(photos), tmp_path)
