"""Of a large gallery a seeded part searches, leave-one-out or as queries."""

import numpy as np
import pytest

from kdistill.data import Image, ImageSet, RetrievalData
from kdistill.stages.judging.judge import Judge, Vectors, drawn_queries

LABELS = np.random.default_rng(0).integers(0, 4, 40)
ROWS = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32) + np.eye(6)[LABELS]


def _images(labels):
    return ImageSet([Image(str(row), array=np.zeros((1, 1, 3), np.uint8)) for row in range(len(labels))], labels)


def _data(queries=None):
    return RetrievalData("d", _images(LABELS), _images(LABELS), None if queries is None else _images(queries))


def test_the_draw_is_of_the_seed_and_no_more_than_there_are():
    data = _data()
    drawn = drawn_queries(data, 15, seed=3)
    assert len(set(drawn.tolist())) == 15
    assert drawn.tolist() == sorted(drawn)
    assert 0 <= drawn[0] <= drawn[-1] < 40
    np.testing.assert_array_equal(drawn, drawn_queries(data, 15, seed=3))
    assert drawn.tolist() != drawn_queries(data, 15, seed=4).tolist()
    assert drawn_queries(data, 40, seed=3) is None
    assert drawn_queries(data, 0, seed=3) is None
    assert len(drawn_queries(_data(LABELS[:20]), 15, seed=3)) == 15
    assert drawn_queries(_data(LABELS[:20]), 20, seed=3) is None


@pytest.mark.parametrize("own", [False, True], ids=["leave-one-out", "queries"])
def test_scores_are_those_of_the_drawn_images_alone(own):
    data = _data(LABELS[:20] if own else None)
    vectors, teacher = (Vectors(rows, rows[:20] + 0.1 if own else None) for rows in (ROWS, ROWS[:, :3]))
    drawn = drawn_queries(data, 7, seed=3)
    found = Judge(data, 512, drawn).scores(vectors, teacher)
    singles = [Judge(data, 512, np.array([row])).scores(vectors, teacher).as_dict() for row in drawn]
    assert found.queries == 7
    for name, value in found.as_dict().items():
        if name != "queries":
            assert value == pytest.approx(np.mean([one[name] for one in singles]), abs=1e-6), name
