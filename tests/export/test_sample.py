"""The images that files and student are compared on: one random sample that keeps what queries look for."""

import time

import numpy as np
import pytest

from export.gate.sample import Sample, draw, read_sample
from export.stage import outside_rows
from kdistill.data import Image, ImageSet, RetrievalData
from kdistill.data.layouts.revisited_truth import RevisitedTruth
from kdistill.evaluation import evaluate_leave_one_out, evaluate_query_gallery

ONE = np.zeros((4, 4, 3), np.uint8)


def image_set(prefix: str, labels: np.ndarray | list[int] | None, count: int | None = None) -> ImageSet:
    number = len(labels) if labels is not None else int(count or 0)
    return ImageSet([Image(f"{prefix}{row}", array=ONE) for row in range(number)], labels)


def leave_one_out(count: int, classes: int) -> RetrievalData:
    return RetrievalData("x", ImageSet([]), image_set("g", np.arange(count) * classes // count))


def test_small_data_is_taken_whole():
    data = leave_one_out(50, 5)
    assert draw(data, 50, seed=0) is data


def test_a_sample_is_random_over_the_gallery_and_the_same_for_a_seed():
    data = leave_one_out(1000, 50)
    sample = draw(data, 200, seed=3)
    positions = np.array([int(name[1:]) for name in sample.gallery.ids])
    assert len(positions) == 200
    assert (np.diff(positions) > 0).all()
    # Evenly over the order of the paths: a quarter in each quarter, within five deviations.
    assert np.abs(np.histogram(positions, 4, (0, 1000))[0] - 50).max() < 31
    assert draw(data, 200, seed=3).gallery.ids == sample.gallery.ids
    assert draw(data, 200, seed=4).gallery.ids != sample.gallery.ids


def test_classes_of_two_keep_their_pairs():
    data = RetrievalData("x", ImageSet([]), image_set("g", np.arange(1000) // 2))
    labels = np.asarray(draw(data, 100, seed=0).gallery.labels)
    assert (np.unique(labels, return_counts=True)[1] == 2).all()


@pytest.mark.parametrize("classes", [10, 300])
def test_sampled_queries_keep_every_positive(classes):
    rng = np.random.default_rng(0)
    gallery, queries = rng.integers(0, classes, 3000), rng.integers(0, classes, 500)
    data = RetrievalData("x", ImageSet([]), image_set("g", gallery), image_set("q", queries))
    sample = draw(data, 1000, seed=1)
    assert len(sample.gallery) + len(sample.queries) == 1000
    assert len(sample.queries) > 1
    for label in np.unique(sample.queries.labels):
        assert (sample.gallery.labels == label).sum() == (gallery == label).sum()
    assert not set(sample.gallery.labels) <= set(sample.queries.labels)  # and there are other images


def revisited(gallery: int, grades: list[tuple[list[int], list[int], list[int]]]) -> RetrievalData:
    truth = RevisitedTruth(*(tuple(np.array(one[grade], np.int64) for one in grades) for grade in range(3)))
    queries = image_set("q", None, len(grades))
    return RetrievalData("x", ImageSet([]), image_set("g", None, gallery), queries, truth)


def test_revisited_queries_keep_easy_hard_and_junk():
    rng = np.random.default_rng(2)
    grades = []
    for _ in range(40):
        chosen = rng.permutation(2000)[:60].tolist()
        grades.append((chosen[:20], chosen[20:50], chosen[50:]))
    data = revisited(2000, grades)
    sample = draw(data, 600, seed=0)
    assert len(sample.gallery) + len(sample.queries) == 600
    assert sample.truth is not None
    assert len(sample.queries) >= 5
    for place, name in enumerate(sample.queries.ids):
        for grade, expected in zip(("easy", "hard", "junk"), grades[int(name[1:])], strict=True):
            found = [sample.gallery.ids[row] for row in getattr(sample.truth, grade)[place]]
            assert sorted(found) == sorted(f"g{row}" for row in expected)


def test_a_query_of_more_positives_than_fit_is_cut_to_the_limit():
    data = revisited(500, [(list(range(400)), [], []), (list(range(300)), [400], [])])
    sample = draw(data, 100, seed=0)
    assert sample.queries.ids == ("q1",)
    assert len(sample.gallery) == 99


def test_drawing_takes_no_quadratic_time():
    count = 50_000
    gallery = ImageSet([Image(str(row), array=ONE) for row in range(count)], np.arange(count) % 3)
    queries = ImageSet([Image(str(row), array=ONE) for row in range(count)], np.arange(count) % 3)
    data = RetrievalData("x", ImageSet([]), gallery, queries)
    began = time.process_time()
    sample = draw(data, 3000, seed=0)
    assert time.process_time() - began < 3
    assert len(sample.gallery) + len(sample.queries) <= 3000


def test_the_judge_scores_the_sample_by_the_runs_rules_and_leaves_out_what_cannot_be_read(tmp_path):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (120, 8, 8, 3)).astype(np.uint8)
    images = [Image(str(row), array=one) for row, one in enumerate(pixels)]
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    images[7] = Image("7", path=tmp_path / "bad.jpg")
    labels = np.arange(120) % 6
    options = {"seed": 2, "strict": False, "max_memory_mb": 64, "limit": 1000}
    alone = read_sample(RetrievalData("x", ImageSet([]), ImageSet(images, labels)), 8, **options)
    assert (alone.facts["images"], alone.facts["queries"], alone.facts["seed"]) == (119, None, 2)
    vectors = rng.normal(size=(119, 5)).astype(np.float32)
    expected = evaluate_leave_one_out(vectors, np.delete(labels, 7)).map
    assert alone.judge(vectors) == pytest.approx(expected)

    # The same photos under the same names search and are searched.
    both = RetrievalData("x", ImageSet([]), ImageSet(images, labels), ImageSet(images[:20], labels[:20]))
    sample = read_sample(both, 8, **options)
    assert sample.pixels.shape == (119 + 19, 8, 8, 3)
    np.testing.assert_array_equal(sample.pixels[0], pixels[0])
    np.testing.assert_array_equal(sample.pixels[19], pixels[0])
    vectors = rng.normal(size=(138, 5)).astype(np.float32)
    own = [np.delete(labels[:20], 7), np.delete(labels, 7)]
    expected = evaluate_query_gallery(vectors[:19], vectors[19:], *own).map
    assert sample.judge(vectors) == pytest.approx(expected)


def test_what_is_no_row_of_the_gallery_judges_an_int8_search(student, pixels, embeddings):
    def sample(searched, queries):
        return Sample(RetrievalData("x", ImageSet([]), ImageSet([])), pixels, None, searched, {"queries": queries})

    assert outside_rows(student, sample(None, None)) is None
    np.testing.assert_allclose(outside_rows(student, sample(None, 7)), embeddings[:7], atol=1e-5)
    # The rows of the teacher's gallery are none of the student's embeddings.
    np.testing.assert_allclose(outside_rows(student, sample(embeddings, None)), embeddings, atol=1e-5)
