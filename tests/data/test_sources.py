"""Data sources: folders, list files, the bundled digits."""

import numpy as np
import PIL.Image
import pytest

from kdistill.data import Image, ImageSet, RetrievalData
from kdistill.data.digits import STUDENT_CLASSES, digits_data, teacher_digits
from kdistill.data.layouts.folder import find_images
from kdistill.data.layouts.sources import open_data
from kdistill.errors import ArgumentError, KdistillError


def _save(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (8, 8), (shade, shade, shade)).save(path)


def test_digits_keep_teacher_and_student_apart():
    data, private = digits_data(seed=3), teacher_digits(seed=3)
    pool, gallery, own = set(data.pool.ids), set(data.gallery.ids), set(private.ids)
    assert not pool & own
    assert not gallery & own
    assert not pool & gallery
    assert not set(data.validation.ids) & (pool | gallery | own)
    assert data.pool.labels is None
    assert not set(data.gallery.labels) & set(STUDENT_CLASSES)
    assert set(private.labels) == set(range(10))
    assert digits_data(seed=3).pool.ids == data.pool.ids != digits_data(seed=4).pool.ids


def test_folder_roles_and_classes(tmp_path):
    for number, name in enumerate(["pool/a/1.jpg", "pool/2.png", "gallery/cat/1.png", "gallery/dog/1.png"]):
        _save(tmp_path / name, number)
    (tmp_path / "pool" / "notes.txt").write_text("not an image")
    data = open_data("folder", data_dir=str(tmp_path))
    assert data.pool.ids == ("2.png", "a/1.jpg")
    assert data.gallery.labels.tolist() == [0, 1]
    assert data.queries is None
    _save(tmp_path / "queries/dog/9.png", 9)
    data = open_data("folder", data_dir=str(tmp_path))
    # The class number of a query is that of the gallery's folder of the same name.
    assert data.queries.labels.tolist() == [1]
    _save(tmp_path / "queries/bird/1.png", 9)
    with pytest.raises(KdistillError, match="bird"):
        open_data("folder", data_dir=str(tmp_path))


def test_photos_alone_are_pool_and_gallery_without_labels(tmp_path):
    for number, name in enumerate(["b.jpg", "2024/a.jpg", "2025/a.png"]):
        _save(tmp_path / name, number)
    for dataset in ("folder", "auto"):
        data = open_data(dataset, data_dir=str(tmp_path))
        assert data.pool.ids == data.gallery.ids == ("2024/a.jpg", "2025/a.png", "b.jpg")
        assert data.pool_is_gallery
        assert not data.labelled
    assert open_data("auto").name == "digits"


def test_a_gallery_is_the_default_pool_and_a_pool_the_default_gallery(tmp_path):
    for number, name in enumerate(["gallery/cat/1.png", "gallery/cat/2.png", "gallery/dog/1.png"]):
        _save(tmp_path / name, number)
    data = open_data("folder", data_dir=str(tmp_path))
    assert data.pool_is_gallery
    assert data.labelled
    assert data.pool.labels is None
    _save(tmp_path / "gallery" / "loose.png", 7)
    with pytest.raises(KdistillError, match=r"1 beside them \('loose.png'\)"):
        open_data("folder", data_dir=str(tmp_path))
    _save(tmp_path / "other" / "pool" / "x.png", 3)
    data = open_data("folder", data_dir=str(tmp_path / "other"))
    assert data.gallery.ids == data.pool.ids == ("x.png",)


def test_labels_judge_only_where_something_right_can_be_found():
    images = [Image(str(number), array=np.zeros((2, 2, 3), np.uint8)) for number in range(4)]

    def labelled(gallery, queries=None):
        searching = None if queries is None else ImageSet(images[: len(queries)], queries)
        return RetrievalData("x", ImageSet(images), ImageSet(images, gallery), searching).labelled

    assert labelled([0, 0, 1, 2])
    assert not labelled(None)
    assert not labelled([0, 0, 0, 0]), "all photos as one class: everything is right"
    assert not labelled([0, 1, 2, 3]), "a catalogue with one photo of each: nothing is"
    assert labelled([0, 1, 2, 3], [3])
    assert not labelled([0, 1, 2, 3], [4])


def test_lists_without_labels(tmp_path):
    (tmp_path / "test.txt").write_text("c.jpg\nd.jpg, \n")
    data = open_data("lists", data_dir=str(tmp_path))
    assert data.gallery.labels is None
    assert data.pool.ids == data.gallery.ids
    (tmp_path / "pool.txt").write_text("a.jpg\n")
    assert open_data("lists", data_dir=str(tmp_path)).pool.ids == ("a.jpg",)
    (tmp_path / "queries.txt").write_text("e.jpg, 1\n")
    with pytest.raises(KdistillError, match=r"queries\.txt has labels and .*test\.txt has none"):
        open_data("lists", data_dir=str(tmp_path), query_file="queries.txt")


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(KdistillError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(KdistillError, match="does not exist"):
        find_images(tmp_path / "nowhere")


def test_lists_take_the_first_label(tmp_path):
    (tmp_path / "pool.txt").write_text("a.jpg, 5, 1\n\nb.jpg\n")
    (tmp_path / "test.txt").write_text("c.jpg, 7, 2\nd.jpg,8\n")
    data = open_data("lists", data_dir=str(tmp_path))
    assert data.pool.ids == ("a.jpg", "b.jpg")
    assert data.pool.labels is None
    assert data.gallery.labels.tolist() == [7, 8]
    assert data.gallery[0].path == tmp_path / "c.jpg"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("d.jpg, 1\nc.jpg", "line 2: expected 'path, label'"),
        ("d.jpg, 1\nc.jpg, ", "line 2: expected 'path, label'"),
        ('d.jpg, 1\n"c, 1.jpg"', r"line 2: expected 'path, label', found 'c, 1\.jpg'"),
        ("c.jpg, 9223372036854775808", "line 1: expected 'path, label'"),
        ("c.jpg, " + "x" * 1001, "line 1: expected 'path, label'"),
        ("d/../../c.jpg, 1", "leads out of the folder"),
        ("cats\\c.jpg, 1", r"a path as Windows writes it; .*such as 'cats/c\.jpg'"),
        ("C:\\photos\\c.jpg, 1", r"a path as Windows writes it; .*such as 'photos/c\.jpg'"),
        ("C:/photos/c.jpg, 1", r"a path as Windows writes it; .*such as 'photos/c\.jpg'"),
        ("\\\\server\\share\\c.jpg, 1", "a path as Windows writes it"),
        ("../c.jpg, 1", "leads out of the folder"),
        ("/etc/c.jpg, 1", "leads out of the folder"),
        ("", "names no image"),
    ],
)
def test_malformed_lists(tmp_path, line, message):
    (tmp_path / "pool.txt").write_text("a.jpg\n")
    (tmp_path / "test.txt").write_text(line + "\n")
    with pytest.raises(KdistillError, match=message):
        open_data("lists", data_dir=str(tmp_path))


def test_missing_pieces_are_named(tmp_path):
    with pytest.raises(ArgumentError, match="unknown; choose one of digits"):
        open_data("imagenet")
    with pytest.raises(ArgumentError, match="needs --data_dir"):
        open_data("lists")
    with pytest.raises(KdistillError, match=r"test\.txt"):
        open_data("lists", data_dir=str(tmp_path))
    with pytest.raises(KdistillError, match=r"pool\.txt"):
        open_data("lists", data_dir=str(tmp_path), pool_file="pool.txt", gallery_file=_listed(tmp_path))
    with pytest.raises(KdistillError, match="does not exist"):
        open_data("lists", data_dir=str(tmp_path / "nowhere"))


def test_digit_scans_are_enlarged_to_full_range():
    pixels = digits_data().pool[0].pixels()
    assert pixels.shape == (32, 32, 3)
    assert pixels.max() > 200
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 1])


def _listed(folder):
    (folder / "named.txt").write_text("c.jpg, 7\n")
    return "named.txt"
