"""Which files of a folder are images: hidden ones, links, foreign kinds, and names that only a file system allows."""

import json
import logging
import os

import numpy as np
import PIL.Image
import pytest

from kdistill.data.layouts.folder import find_images, folder_data
from kdistill.data.layouts.sources import open_data
from kdistill.data.layouts.walking import is_hidden
from kdistill.errors import ArgumentError, KdistillError


@pytest.fixture
def told(caplog):
    """Returns the lines that were logged since the last call."""

    def lines():
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    with caplog.at_level(logging.WARNING, logger="absl"):
        yield lines


def save(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (2, 2), (shade, shade, shade)).save(path, "PNG")


HIDDEN = [
    ".ipynb_checkpoints/a-checkpoint.png",
    "cat/.ipynb_checkpoints/a-checkpoint.png",
    "cat/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
    "cat/._a.png",
    "cat/.a.jpg",
    "__MACOSX/cat/._a.png",
    "lost+found/1.png",
    "#recycle/old.png",
    "$RECYCLE.BIN/old.png",
    "System Volume Information/x.png",
]


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_images_are_left_out_and_counted(tmp_path, told, name):
    save(tmp_path / "cat/a.png")
    save(tmp_path / name)
    images = find_images(tmp_path, labelled=True)
    assert images.ids == ("cat/a.png",)
    (line,) = told()
    assert f"left out images in hidden or system files and folders (1, the first {name!a})" in line


def test_all_of_them_take_one_line(tmp_path, told):
    for name in ("cat/a.png", *HIDDEN):
        save(tmp_path / name)
    assert find_images(tmp_path).ids == ("cat/a.png",)
    (line,) = told()
    assert f"files and folders ({len(HIDDEN)}, the first " in line


def test_what_is_no_image_is_not_spoken_of(tmp_path, told):
    save(tmp_path / "a.png")
    (tmp_path / ".git").mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", ".git/config"):
        (tmp_path / name).write_bytes(b"x")
    assert find_images(tmp_path).ids == ("a.png",)
    assert told() == []


def test_a_hidden_folder_that_was_asked_for_is_read(tmp_path, told):
    save(tmp_path / ".cache/photos/a.png")
    assert find_images(tmp_path / ".cache/photos").ids == ("a.png",)
    assert told() == []
    with pytest.raises(KdistillError, match=r"holds no image .*; left out were images in hidden"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("@EADIR", True), (".", True), ("@home", False), ("a.b", False), ("_x", False), ("lost", False), ("#1", False)],
)
def test_hidden_names(name, hidden):
    assert is_hidden(name) == hidden


@pytest.mark.parametrize("suffix", [".PNG", ".jpeg", ".JPG", ".webp", ".Tiff", ".gif", ".bmp", ".jfif", ".jpg "])
def test_suffixes(tmp_path, told, suffix):
    save(tmp_path / f"a{suffix}")
    assert find_images(tmp_path).ids == (f"a{suffix}",)
    assert told() == []


def test_photos_of_other_kinds_are_told_of(tmp_path, told):
    for name in ("a.png", "b.HEIC", "c.heic", "d.avif"):
        save(tmp_path / name)
    assert find_images(tmp_path).ids == ("a.png",)
    (line,) = told()
    assert ".heic files, which are not read here and can be converted to JPEG (2, the first 'b.HEIC')" in line
    assert ".avif files" in line


def test_linked_class_folders_are_read_once_each(tmp_path, told):
    save(tmp_path / "store/cats/a.png")
    save(tmp_path / "store/cats/kittens/b.png")
    save(tmp_path / "data/dog/c.png")
    (tmp_path / "data/cat").symlink_to(tmp_path / "store/cats")
    images = find_images(tmp_path / "data", labelled=True)
    assert images.ids == ("cat/a.png", "cat/kittens/b.png", "dog/c.png")
    assert images.labels.tolist() == [0, 1, 2]
    assert told() == []
    # The same folder under other names, whichever comes first in the alphabet.
    (tmp_path / "data/another cat").symlink_to(tmp_path / "store/cats/kittens")
    (tmp_path / "data/a dog").symlink_to(tmp_path / "data/dog")
    images = find_images(tmp_path / "data", labelled=True)
    assert images.ids == ("another cat/b.png", "cat/a.png", "dog/c.png")
    (line,) = told()
    assert "links to folders that were read already or hold this one (1, the first 'a dog')" in line


def test_links_in_circles_and_upwards_end(tmp_path, told):
    save(tmp_path / "outside.png")
    save(tmp_path / "data/a/b/1.png")
    (tmp_path / "data/a/b/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/a/above").symlink_to(tmp_path)
    (tmp_path / "data/a/all").symlink_to("/")
    (tmp_path / "data/x").symlink_to(tmp_path / "data/y")
    (tmp_path / "data/y").symlink_to(tmp_path / "data/x")
    assert find_images(tmp_path / "data").ids == ("a/b/1.png",)
    (line,) = told()
    assert "links to folders that were read already or hold this one (3, " in line
    assert "links that lead nowhere (2, the first 'x')" in line


def test_two_folders_that_link_to_each_other(tmp_path, told):
    for name, other in (("a", "b"), ("b", "a")):
        save(tmp_path / f"store/{name}/1.png")
        (tmp_path / f"store/{name}/{other}").symlink_to(tmp_path / f"store/{other}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").symlink_to(tmp_path / "store/a")
    assert find_images(tmp_path / "data").ids == ("a/1.png", "a/b/1.png")
    assert len(told()) == 1


def test_broken_links_are_told_of_and_links_to_files_are_read(tmp_path, told):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert find_images(tmp_path).ids == ("a.png", "b.png")
    (line,) = told()
    assert "left out links that lead nowhere (1, the first 'gone.png')" in line


ODD = [
    "line\nbreak",
    "tab\tbell\a",
    "quote'\"",
    "100%s%d",
    "what?#&",
    "semi;colon:",
    "[a-z]*{b}",
    "-rf",
    "~",
    " both ends ",
    "dot.",
    "back\\slash",
    "comma, separated",
    "e\u0301 é 写真 🙂",
    "\u2028\u200b\ufeff",
    "\u202egpj",
    "x" * 200,
    "byte \udcff\udce4",
]


@pytest.mark.parametrize("name", ODD)
def test_any_name_of_a_folder_and_a_file(tmp_path, told, name):
    for role in ("pool", "gallery", "queries", "val"):
        plain = tmp_path / role / "plain.png"
        save(plain, 200)
        (tmp_path / role / name).mkdir()
        os.rename(plain, tmp_path / role / name / f"{name}.png")
    written = name.replace("\udcff", r"\xff").replace("\udce4", r"\xe4")
    data = folder_data(tmp_path)
    assert data.gallery.labels.tolist() == data.queries.labels.tolist() == [0]
    for images in (data.pool, data.gallery, data.queries, data.validation):
        assert images.ids == (f"{written}/{written}.png",)
        np.testing.assert_array_equal(images[0].pixels(), np.full((2, 2, 3), 200))
    ids = data.gallery.ids
    assert tuple(json.loads(json.dumps(ids, ensure_ascii=False).encode().decode())) == ids
    np.savez(tmp_path / "ids.npz", ids=ids)
    with np.load(tmp_path / "ids.npz") as arrays:
        assert tuple(arrays["ids"].tolist()) == ids
    assert told() == []


def test_the_limit_on_pixels_reaches_every_image(tmp_path):
    for name in ("pool/a.png", "gallery/c/a.png", "queries/c/b.png", "val/c/d.png"):
        save(tmp_path / name)
    data = open_data("folder", data_dir=str(tmp_path), max_megapixels=200)
    images = (*data.pool, *data.gallery, *data.queries, *data.validation)
    assert [image.max_megapixels for image in images] == [200] * 4
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ArgumentError, match=r"--max_megapixels=.* must be above 0"):
            open_data("folder", data_dir=str(tmp_path), max_megapixels=wrong)
