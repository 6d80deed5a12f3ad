"""The joint-space losses against naive loops over anchors, gallery rows and pairs."""

import math

import numpy as np
import pytest

from kdistill.losses import gram, list_mle, pairwise_logistic, rkd_distance, softmax_ranking

RNG = np.random.default_rng(0)
TEACHER = RNG.normal(size=(7, 5))
STUDENT = RNG.normal(size=(7, 3))
# Four anchors, of which one has a single candidate and one has none.
MASK = (RNG.random((4, 7)) < 0.7) & ~np.eye(4, 7, dtype=bool)
MASK[2] = np.arange(7) == 5
MASK[3] = False
MASKS = {"all": None, "some": MASK}


ROWS = TEACHER.astype("float32"), STUDENT.astype("float32")


def full(mask) -> np.ndarray:
    return ~np.eye(7, dtype=bool) if mask is None else mask


def scores(rows: np.ndarray, similarity: str) -> np.ndarray:
    if similarity == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_softmax_ranking(mask, similarity):
    teacher, student = scores(TEACHER, similarity), scores(STUDENT, similarity)
    anchors = []
    for a, row in enumerate(full(mask)):
        columns = np.flatnonzero(row)
        if len(columns) == 0:
            continue
        p = np.exp(teacher[a, columns] / 0.3)
        q = np.exp(student[a, columns] / 0.7)
        p, q = p / p.sum(), q / q.sum()
        anchors.append(np.sum(p * np.log(p / q)))
    got = softmax_ranking(
        *ROWS,
        mask=mask,
        teacher_temperature=0.3,
        student_temperature=0.7,
        similarity=similarity,
    )
    assert float(got) == pytest.approx(np.mean(anchors), rel=1e-4)


@pytest.mark.parametrize("top_k", [1, 3, 10])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_list_mle(mask, top_k):
    teacher, student = scores(TEACHER, "cosine"), scores(STUDENT, "cosine") / 0.2
    anchors = []
    for a, row in enumerate(full(mask)):
        remaining = sorted(np.flatnonzero(row), key=lambda g, a=a: -teacher[a, g])
        if not remaining:
            continue
        surprise = 0.0
        for _ in range(min(top_k, len(remaining))):
            surprise += math.log(sum(math.exp(student[a, g]) for g in remaining)) - student[a, remaining[0]]
            remaining = remaining[1:]
        anchors.append(surprise)
    got = list_mle(*ROWS, mask=mask, top_k=top_k, student_temperature=0.2)
    assert float(got) == pytest.approx(np.mean(anchors), rel=1e-4)


@pytest.mark.parametrize("offsets", [1, 2, 8])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_pairwise_logistic(mask, offsets):
    teacher, student = scores(TEACHER, "cosine"), scores(STUDENT, "cosine") / 0.2
    loss, weight = 0.0, 0.0
    for a, row in enumerate(full(mask)):
        order = sorted(np.flatnonzero(row), key=lambda g, a=a: -teacher[a, g])
        for first in range(len(order)):
            for offset in (2**power for power in range(offsets)):
                if first + offset < len(order):
                    g, h = order[first], order[first + offset]
                    gap = teacher[a, g] - teacher[a, h]
                    loss += gap * math.log1p(math.exp(-(student[a, g] - student[a, h])))
                    weight += gap
    got = pairwise_logistic(*ROWS, mask=mask, offsets=offsets, student_temperature=0.2)
    assert float(got) == pytest.approx(loss / weight, rel=1e-4)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_rkd_distance(mask, normalise):
    pairs = np.argwhere(full(mask))

    def relative(rows):
        if normalise:
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        distances = np.array([np.linalg.norm(rows[a] - rows[g]) for a, g in pairs])
        return distances / distances.mean()

    error = np.abs(relative(STUDENT) - relative(TEACHER))
    expected = np.where(error <= 1, error**2 / 2, error - 0.5).mean()
    got = rkd_distance(*ROWS, mask=mask, normalise=normalise)
    assert float(got) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_gram(mask):
    residual = scores(STUDENT, "cosine") - scores(TEACHER, "cosine")
    expected = np.mean([residual[a, g] ** 2 for a, g in np.argwhere(full(mask))])
    assert float(gram(*ROWS, mask=mask)) == pytest.approx(expected, rel=1e-4)


def test_softmax_ranking_of_two_candidates_by_hand():
    # Teacher similarities 1 and 0 at temperature 1: p = (e, 1) / (e + 1). The student sees no difference: q = 1/2.
    teacher = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], "float32")
    student = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], "float32")
    mask = np.array([[False, True, True]])
    p = math.e / (math.e + 1)
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    got = softmax_ranking(teacher, student, mask=mask, teacher_temperature=1.0, student_temperature=1.0)
    assert float(got) == pytest.approx(expected, rel=1e-5)
