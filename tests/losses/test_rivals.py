"""The rivals against their published formulas, written as loops."""

import itertools
import math

import numpy as np
import pytest

from kdistill.errors import ArgumentError
from kdistill.losses import csd, darkrank, pkt, raml, regression, rkd, rkd_angle, rkd_distance, similarity_preserving
from kdistill.losses.published.rkd import huber

RNG = np.random.default_rng(1)
COUNT = 7
TEACHER = RNG.normal(size=(COUNT, 4)).astype("float32")
STUDENT = RNG.normal(size=(COUNT, 4)).astype("float32")
NARROW = RNG.normal(size=(COUNT, 3)).astype("float32")


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def others(row: int) -> list[int]:
    return [other for other in range(COUNT) if other != row]


def test_regression():
    cosines = np.sum(unit(TEACHER) * unit(STUDENT), axis=1)
    assert float(regression(TEACHER, STUDENT)) == pytest.approx(np.mean(2 - 2 * cosines), rel=1e-5)
    raw = np.mean(np.sum((TEACHER - STUDENT) ** 2, axis=1))
    assert float(regression(TEACHER, STUDENT, normalise=False)) == pytest.approx(raw, rel=1e-5)
    rows = np.arange(COUNT) < 3
    got = regression(TEACHER, STUDENT, mask=rows)
    assert float(got) == pytest.approx(np.mean((2 - 2 * cosines)[:3]), rel=1e-5)


@pytest.mark.parametrize("loss", [regression, csd, raml])
def test_losses_that_need_equal_dimensions_say_so(loss):
    with pytest.raises(ArgumentError, match="the student has 3 dimensions and the teacher 4"):
        loss(TEACHER, NARROW)


def test_huber_is_quadratic_then_linear():
    np.testing.assert_allclose(huber(np.array([-3.0, -0.5, 0.0, 1.0, 2.0], "float32")), [2.5, 0.125, 0.0, 0.5, 1.5])


def naive_angles(rows: np.ndarray) -> dict[tuple[int, int, int], float]:
    angles = {}
    for vertex, first, second in itertools.permutations(range(len(rows)), 3):
        one, two = rows[first] - rows[vertex], rows[second] - rows[vertex]
        angles[vertex, first, second] = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    return angles


@pytest.mark.parametrize(("max_rows", "used"), [(64, COUNT), (4, 4)])
def test_rkd_angle(max_rows, used):
    teacher, student = naive_angles(unit(TEACHER)[:used]), naive_angles(unit(NARROW)[:used])
    errors = np.array([abs(teacher[triple] - student[triple]) for triple in teacher])
    expected = np.where(errors <= 1, errors**2 / 2, errors - 0.5).mean()
    assert float(rkd_angle(TEACHER, NARROW, max_rows=max_rows)) == pytest.approx(expected, rel=1e-4)


def test_rkd_angle_of_masked_rows_is_that_of_the_others():
    rows = np.array([True, False, True, True, True, False, True])
    expected = float(rkd_angle(TEACHER[rows], NARROW[rows]))
    assert float(rkd_angle(TEACHER, NARROW, mask=rows)) == pytest.approx(expected, rel=1e-5)


def test_rkd_weighs_distances_once_and_angles_twice():
    expected = float(rkd_distance(TEACHER, NARROW)) + 2 * float(rkd_angle(TEACHER, NARROW))
    assert float(rkd(TEACHER, NARROW)) == pytest.approx(expected, rel=1e-6)
    rows = np.arange(COUNT) != 3
    assert float(rkd(TEACHER, NARROW, mask=rows)) == pytest.approx(float(rkd(TEACHER[rows], NARROW[rows])), rel=1e-5)


def test_pkt():
    def conditional(rows, anchor):
        kernel = (unit(rows)[others(anchor)] @ unit(rows)[anchor] + 1) / 2
        return kernel / kernel.sum()

    divergences = []
    for anchor in range(COUNT):
        p, q = conditional(TEACHER, anchor), conditional(NARROW, anchor)
        divergences.append(np.sum(p * np.log(p / q)))
    assert float(pkt(TEACHER, NARROW)) == pytest.approx(np.mean(divergences), rel=1e-4)


def test_similarity_preserving():
    teacher, student = unit(TEACHER @ TEACHER.T), unit(NARROW @ NARROW.T)
    expected = np.linalg.norm(teacher - student, "fro") ** 2 / COUNT**2
    assert float(similarity_preserving(TEACHER, NARROW)) == pytest.approx(expected, rel=1e-4)


def plackett_luce(scores: list[float]) -> float:
    """Log-probability of scores being drawn in this order, without replacement."""
    return sum(scores[r] - math.log(sum(math.exp(score) for score in scores[r:])) for r in range(len(scores)))


@pytest.mark.parametrize("form", ["hard", "soft"])
def test_darkrank(form):
    losses = []
    for anchor in range(COUNT):

        def score(rows, other, anchor=anchor):
            return -3.0 * np.linalg.norm(unit(rows)[anchor] - unit(rows)[other]) ** 3

        nearest = sorted(others(anchor), key=lambda other: -score(TEACHER, other))[:4]
        if form == "hard":
            losses.append(-plackett_luce([score(NARROW, other) for other in nearest]))
            continue
        orders = list(itertools.permutations(nearest))
        log_p = [plackett_luce([score(TEACHER, other) for other in order]) for order in orders]
        log_q = [plackett_luce([score(NARROW, other) for other in order]) for order in orders]
        losses.append(sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True)))
    assert float(darkrank(TEACHER, NARROW, form=form)) == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("top_k", [3, 32])
def test_csd(top_k):
    divergences = []
    for anchor in range(COUNT):
        teacher = unit(TEACHER) @ unit(TEACHER)[anchor]
        student = unit(TEACHER) @ unit(STUDENT)[anchor]
        nearest = np.argsort(-teacher)[:top_k]
        assert nearest[0] == anchor
        p, q = np.exp(teacher[nearest] / 0.2), np.exp(student[nearest] / 0.5)
        p, q = p / p.sum(), q / q.sum()
        divergences.append(np.sum(p * np.log(p / q)))
    got = csd(TEACHER, STUDENT, top_k=top_k, teacher_temperature=0.2, student_temperature=0.5)
    assert float(got) == pytest.approx(np.mean(divergences), rel=1e-4)


def test_raml():
    teacher, student = unit(TEACHER), unit(STUDENT)
    absolute = np.mean([np.linalg.norm(teacher[row] - student[row]) for row in range(COUNT)])
    cross = np.mean((student @ teacher.T - teacher @ teacher.T) ** 2)
    within = np.mean((student @ student.T - teacher @ teacher.T) ** 2)
    got = raml(TEACHER, STUDENT, cross_weight=0.5, self_weight=3.0)
    assert float(got) == pytest.approx(absolute + 0.5 * cross + 3.0 * within, rel=1e-5)
