"""The loader of the revisited layout."""

import pickle

import numpy as np
import PIL.Image
import pytest

from kdistill.data.layouts.revisited import revisited_data
from kdistill.data.layouts.revisited_truth import RevisitedTruth
from kdistill.data.layouts.sources import open_data
from kdistill.errors import KdistillError

CONTENT = {
    "imlist": ["a", "b", "c"],
    "qimlist": ["q", "a"],
    "gnd": [
        {"bbx": [2.0, 1.0, 8.6, 5.0], "easy": np.array([2, 0]), "hard": [], "junk": np.array([1])},
        {"bbx": (0, 0, 10, 6), "easy": [], "hard": [2], "junk": [0]},
    ],
}


def layout(folder, content=CONTENT):
    (folder / "jpg").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate("abcq"):
        pixels = np.full((6, 10, 3), 40 * number, np.uint8)
        PIL.Image.fromarray(pixels).save(folder / "jpg" / f"{name}.jpg", quality=100)
    (folder / "gnd_tiny.pkl").write_bytes(pickle.dumps(content))
    return folder


def test_names_boxes_and_grades(tmp_path):
    data = revisited_data(layout(tmp_path))
    assert data.name == "tiny"
    assert data.gallery.ids == ("jpg/a.jpg", "jpg/b.jpg", "jpg/c.jpg")
    assert data.queries.ids == ("query/q.jpg", "query/a.jpg")
    assert [data.pool.ids, data.queries.labels] == [data.gallery.ids, None]
    assert data.pool_is_gallery
    assert data.labelled
    assert [indices.tolist() for indices in data.truth.easy] == [[0, 2], []]
    assert data.truth.labelled(1).tolist() == [2, 0]


def test_queries_are_cropped_to_their_box(tmp_path):
    data = revisited_data(layout(tmp_path))
    # 2.0 .. 8.6 is rounded to 2 .. 9, as the reference crops.
    assert [image.pixels().shape for image in data.queries] == [(4, 7, 3), (6, 10, 3)]
    assert data.gallery[0].pixels().shape == (6, 10, 3)
    assert data.queries[1].content_hash() != data.gallery[0].content_hash()


def test_distractors_follow_and_the_pool_is_its_own_folder(tmp_path):
    root = layout(tmp_path / "set")
    layout(tmp_path / "more")
    data = open_data(
        "revisited",
        data_dir=str(root),
        gnd_file="gnd_tiny.pkl",
        distractor_dir=str(tmp_path / "more"),
        pool_dir=str(tmp_path / "more" / "jpg"),
    )
    assert data.gallery.ids[:4] == ("jpg/a.jpg", "jpg/b.jpg", "jpg/c.jpg", "distractors/jpg/a.jpg")
    assert len(data.gallery) == 3 + 4
    assert data.pool.ids == ("a.jpg", "b.jpg", "c.jpg", "q.jpg")


def test_images_that_are_gone_leave_the_truth(tmp_path):
    truth = revisited_data(layout(tmp_path)).truth.restricted_to(np.array([1, 0]), np.array([0, 2]))
    assert [part.tolist() for part in truth.easy] == [[], [0, 1]]
    assert [part.tolist() for part in truth.hard] == [[1], []]
    assert [part.tolist() for part in truth.junk] == [[0], []]


def record(**changes):
    return {**CONTENT, "gnd": [{**CONTENT["gnd"][0], **changes}, CONTENT["gnd"][1]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "no list 'imlist'"),
        ({**CONTENT, "qimlist": ["q"]}, "1 queries and 2 ground truths"),
        (record(easy=[3]), "query 0 of the ground truth names the image 3, and the gallery has 3"),
        (record(easy=[-1]), "names the image -1"),
        (record(hard=[2]), "names the image 2 more than once"),
        (record(hard=[0.5]), "something else than positions"),
        (record(hard=["a"]), "something else than positions"),
        (record(bbx=[1, 2, 3]), "query 0 has no 'bbx' of four numbers"),
        (record(bbx=[5, 0, 5, 9]), "the box of query 0 is empty"),
        ({**CONTENT, "gnd": [{"ok": [1], "junk": []}] * 2}, r"no 'easy' list \(it holds: ok, junk\)"),
        ({**CONTENT, "imlist": ["../a", "b", "c"]}, "not a name inside jpg/"),
        ({**CONTENT, "imlist": ["/etc/a", "b", "c"]}, "not a name inside jpg/"),
        ({**CONTENT, "imlist": ["a", "a", "c"]}, "'jpg/a.jpg' stands more than once"),
    ],
)
def test_a_broken_ground_truth_is_named(tmp_path, content, message):
    with pytest.raises(KdistillError, match=message):
        revisited_data(layout(tmp_path, content))


def test_the_folder_must_have_the_layout(tmp_path):
    with pytest.raises(KdistillError, match="has no folder jpg"):
        revisited_data(tmp_path)
    (tmp_path / "jpg").mkdir()
    with pytest.raises(KdistillError, match=r"found: none"):
        revisited_data(tmp_path)
    for name in ("gnd_a.pkl", "gnd_b.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(CONTENT))
    with pytest.raises(KdistillError, match=r"gnd_a\.pkl, gnd_b\.pkl"):
        revisited_data(tmp_path)


def test_grades_must_cover_the_same_queries():
    with pytest.raises(KdistillError, match="different numbers of queries"):
        RevisitedTruth(([],), ([], []), ([],))


def test_without_a_pool_the_gallery_is_asked_about_but_not_its_distractors(tmp_path):
    (tmp_path / "more").mkdir()
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "more" / "far.jpg")
    data = revisited_data(layout(tmp_path), distractor_dir=tmp_path / "more")
    assert data.gallery.ids == (*data.pool.ids, "distractors/far.jpg")
    assert data.pool.labels is None
