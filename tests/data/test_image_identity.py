"""Identities of images: they change with the content and only with it, and unchanged files are not read twice."""

import hashlib
import json
import os
import time

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.data import identity as identity_module
from kdistill.data.identity import UNREADABLE, Changes, changes, identities


@pytest.fixture
def reads(monkeypatch):
    """The names of files that were read, one entry a time."""
    seen = []
    read = identity_module.read_bounded

    def counted(path, limit):
        if not str(path).endswith(".json"):
            seen.append(os.path.basename(path))
        return read(path, limit)

    monkeypatch.setattr(identity_module, "read_bounded", counted)
    monkeypatch.setattr(identity_module, "SETTLED_NS", -(10**18))  # files of a test are always new
    return seen


def _files(folder, names):
    return ImageSet([Image(name, path=folder / name) for name in names])


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "b.jpg").write_bytes(b"one")
    found = identities(_files(tmp_path, ["a.jpg", "b.jpg", "gone.jpg"]))
    one = hashlib.sha256(b"one").hexdigest()
    assert found == {"a.jpg": one, "b.jpg": one, "gone.jpg": UNREADABLE}
    assert found["a.jpg"] == Image("a.jpg", path=tmp_path / "a.jpg").content_hash()


def test_pixels_shape_type_and_box_count(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    (tmp_path / "a.jpg").write_bytes(b"one")
    others = [
        Image("same", array=pixels.copy()),
        Image("shape", array=pixels.reshape(2, 8, 3)),
        Image("value", array=pixels + 1),
        Image("box", array=pixels, box=(0, 0, 2, 2)),
        Image("box of floats", array=pixels, box=(0.0, 0.0, 2.0, 2.0)),
        Image("file", path=tmp_path / "a.jpg"),
        Image("file's box", path=tmp_path / "a.jpg", box=(0, 0, 1, 1)),
    ]
    found = identities(ImageSet([Image("first", array=pixels), *others]))
    assert found["same"] == found["first"]
    assert found["box"] == found["box of floats"]
    assert len(set(found.values())) == 6


def test_unchanged_files_are_not_read_again(tmp_path, reads):
    names = ["a.jpg", "b.jpg", "bad\udcff\n'\".jpg"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    images, cache = _files(tmp_path, names), tmp_path / "cache" / "digests.json"
    first = identities(images, cache)
    assert sorted(reads) == sorted(names)
    assert identities(images, cache) == first == identities(images)
    assert len(reads) == 6  # once with the cache, once without one
    # Another set in the same cache leaves the first one's entries.
    (tmp_path / "c.jpg").write_bytes(b"c")
    identities(_files(tmp_path, ["c.jpg"]), cache)
    identities(images, cache)
    assert reads[6:] == ["c.jpg"]


def test_every_kind_of_change_is_noticed(tmp_path, reads):
    def overwrite(path):
        path.write_bytes(b"22222")

    def overwrite_and_set_back_the_time(path):
        before = path.stat()
        path.write_bytes(b"22222")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def rename_another_over_it(path):
        before, other = path.stat(), path.with_suffix(".new")
        other.write_bytes(b"22222")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(other, path)

    def link_to_another(path):
        path.with_suffix(".other").write_bytes(b"22222")
        path.unlink()
        path.symlink_to(path.with_suffix(".other"))

    for number, change in enumerate(
        (overwrite, overwrite_and_set_back_the_time, rename_another_over_it, link_to_another)
    ):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(b"11111")
        images, cache = _files(tmp_path, [path.name]), tmp_path / "digests.json"
        before = identities(images, cache)
        time.sleep(0.02)  # the grain of a file system's clock
        change(path)
        assert identities(images, cache) == {path.name: hashlib.sha256(b"22222").hexdigest()} != before, change
        path.unlink()
        assert identities(images, cache) == {path.name: UNREADABLE}, change


def test_a_file_that_was_just_written_is_not_trusted_yet(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    identities(_files(tmp_path, ["a.jpg"]), tmp_path / "digests.json")
    assert not (tmp_path / "digests.json").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"format": 2, "files": {}}', b'{"format": 1, "files": {"a": 1}}', b"[" * 100_000, b"\xff"],
)
def test_a_damaged_cache_is_made_anew(tmp_path, reads, content):
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "digests.json").write_bytes(content)
    images = _files(tmp_path, ["a.jpg"])
    first = identities(images, tmp_path / "digests.json")
    assert first == {"a.jpg": hashlib.sha256(b"one").hexdigest()} == identities(images, tmp_path / "digests.json")
    assert reads == ["a.jpg"]
    assert json.loads((tmp_path / "digests.json").read_text())["format"] == 1


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, reads):
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "file").write_bytes(b"")
    for _ in range(2):
        assert identities(_files(tmp_path, ["a.jpg"]), tmp_path / "file" / "digests.json")["a.jpg"] != UNREADABLE
    assert reads == ["a.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("before", "after", "expected", "sentence"),
    [
        ({}, {}, Changes(), "no change"),
        ({"a": "1"}, {"a": "1"}, Changes(), "no change"),
        ({"a": "1"}, {"a": "2"}, Changes(replaced=("a",)), "1 replaced ('a')"),
        ({"a": "1"}, {}, Changes(removed=("a",)), "1 removed ('a')"),
        (
            {"b": "1", "c": "1"},
            {"b": "2", "e": "1", "d": "1"},
            Changes(("d", "e"), ("c",), ("b",)),
            "2 added ('d', 'e'), 1 removed ('c'), 1 replaced ('b')",
        ),
        ({}, dict.fromkeys("dcba", "1"), Changes(tuple("abcd")), "4 added ('a', 'b', 'c', ...)"),
        ({}, {"a\nb\udcff": "1"}, Changes(("a\nb\udcff",)), r"1 added ('a\nb\udcff')"),
    ],
)
def test_changes_in_one_line(before, after, expected, sentence):
    found = changes(before, after)
    assert found == expected
    assert str(found) == sentence
    assert bool(found) == (before != after)
