"""Losses that take past rows behind those of the batch, against loops over each anchor's candidates."""

import math

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.training.soundness import random_batch
from kdistill import losses
from kdistill.errors import ArgumentError

RNG = np.random.default_rng(4)
BATCH, PAST = 5, 6
COUNT = BATCH + PAST
TEACHER = RNG.normal(size=(COUNT, 4)).astype("float32")
STUDENT = RNG.normal(size=(COUNT, 4)).astype("float32")
LABELS = np.array([3, 1, 3, 2, 7, 3, 2, 1, 3, 9, 9])
# Every other row of the batch, and those past rows that are fresh.
FRESH = np.array([True, True, False, True, False, True])
MASK = np.concatenate([~np.eye(BATCH, dtype=bool), np.tile(FRESH, (BATCH, 1))], axis=1)
BANKED = [name for name in losses.names() if losses.get(name).banks]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def others(anchor: int, mask: np.ndarray | None) -> list[int]:
    return [row for row in range(COUNT) if (row != anchor if mask is None else mask[anchor, row])]


def divergence(teacher: np.ndarray, student: np.ndarray) -> float:
    """KL of the softmaxes of two lists of scores."""
    p, q = np.exp(teacher - teacher.max()), np.exp(student - student.max())
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "batch and bank"])
def test_seed_compares_with_the_queue_and_the_own_teacher_vector(mask):
    expected = []
    for anchor in range(COUNT if mask is None else BATCH):
        queue = [anchor, *others(anchor, mask)]
        teacher = unit(TEACHER)[queue] @ unit(TEACHER)[anchor]
        student = unit(TEACHER)[queue] @ unit(STUDENT)[anchor]
        expected.append(divergence(teacher / 0.3, student / 0.7))
    got = losses.seed(TEACHER, STUDENT, mask=mask, teacher_temperature=0.3, student_temperature=0.7)
    assert float(got) == pytest.approx(np.mean(expected), rel=1e-4)


def test_seed_of_one_queued_vector_by_hand():
    # Own vector and queue are orthogonal: teacher (1, 0) / T; the student stands half way: (a, a) / t, q = 1/2.
    teacher = np.array([[1.0, 0.0], [0.0, 1.0]], "float32")
    student = np.array([[3.0, 3.0], [9.0, 9.0]], "float32")
    p = math.exp(2.0) / (math.exp(2.0) + 1.0)
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    got = losses.seed(teacher, student, mask=np.array([[False, True]]), teacher_temperature=0.5)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_the_temperatures_of_seed_are_the_published_ones():
    assert losses.get("seed").options == {"teacher_temperature": 0.01, "student_temperature": 0.2}


@pytest.mark.parametrize("top_k", [3, 32])
def test_csd_finds_neighbours_among_batch_and_past_rows(top_k):
    expected = []
    for anchor in range(BATCH):
        gallery = np.array([anchor, *others(anchor, MASK)])
        nearest = gallery[np.argsort(-(unit(TEACHER)[gallery] @ unit(TEACHER)[anchor]))[:top_k]]
        assert nearest[0] == anchor
        teacher, student = (
            unit(TEACHER)[nearest] @ unit(TEACHER)[anchor],
            unit(TEACHER)[nearest] @ unit(STUDENT)[anchor],
        )
        expected.append(divergence(teacher / 0.2, student / 0.5))
    got = losses.csd(TEACHER, STUDENT, mask=MASK, top_k=top_k, teacher_temperature=0.2, student_temperature=0.5)
    assert float(got) == pytest.approx(np.mean(expected), rel=1e-4)


def test_darkrank_lists_past_rows_too():
    expected = []
    for anchor in range(BATCH):
        scores = [-3.0 * np.linalg.norm(unit(rows) - unit(rows)[anchor], axis=1) ** 3 for rows in (TEACHER, STUDENT)]
        nearest = sorted(others(anchor, MASK), key=lambda row, scores=scores: -scores[0][row])[:4]
        placed = scores[1][nearest]
        expected.append(-sum(placed[place] - math.log(np.exp(placed[place:]).sum()) for place in range(4)))
    assert float(losses.darkrank(TEACHER, STUDENT, mask=MASK)) == pytest.approx(np.mean(expected), rel=1e-4)


def test_contrastive_counts_pairs_of_the_batch_and_of_the_batch_with_past_rows_once():
    rows, total = 0.4 * STUDENT, 0.0
    for i in range(BATCH):
        for j in range(i + 1, COUNT):
            if MASK[i, j]:
                distance = float(np.linalg.norm(rows[i] - rows[j]))
                total += 0.5 * (distance**2 if LABELS[i] == LABELS[j] else max(0.0, 0.7 - distance) ** 2)
    assert float(losses.contrastive(LABELS, rows, mask=MASK)) == pytest.approx(total, rel=1e-4)


def test_triplets_take_positives_and_negatives_from_past_rows():
    expected = []
    for anchor in range(BATCH):
        distances = np.linalg.norm(STUDENT - STUDENT[anchor], axis=1)
        negatives = [distances[row] for row in others(anchor, MASK) if LABELS[row] != LABELS[anchor]]
        for positive in others(anchor, MASK):
            if LABELS[positive] == LABELS[anchor]:
                farther = [distance for distance in negatives if distance > distances[positive]]
                negative = min(farther) if farther else max(negatives)
                expected.append(max(0.0, 0.2 + distances[positive] - negative))
    assert len(expected) > 5
    assert float(losses.triplet_semihard(LABELS, STUDENT, mask=MASK)) == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("name", BANKED)
def test_stale_past_rows_have_no_effect_and_no_gradient(name):
    loss, student, teacher = losses.get(name), STUDENT.copy(), TEACHER.copy()
    hidden = BATCH + np.flatnonzero(~FRESH)
    student[hidden], teacher[hidden] = RNG.normal(size=(2, len(hidden), 4))
    labels = np.where(np.isin(np.arange(COUNT), hidden), 3, LABELS)
    rows = tf.constant(STUDENT)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        total = loss.call(LABELS if loss.needs_labels else TEACHER, rows, mask=MASK)
    other = loss.call(labels if loss.needs_labels else teacher, student, mask=MASK)
    assert float(other) == pytest.approx(float(total), rel=1e-5)
    gradient = tf.convert_to_tensor(tape.gradient(total, rows)).numpy()
    assert np.all(gradient[hidden] == 0.0)
    assert np.any(gradient[:BATCH] != 0.0)


@pytest.mark.parametrize("name", BANKED)
def test_an_empty_bank_changes_nothing(name):
    loss = losses.get(name)
    targets = LABELS if loss.needs_labels else TEACHER
    empty = np.concatenate([~np.eye(BATCH, dtype=bool), np.zeros((BATCH, PAST), bool)], axis=1)
    expected = float(loss.call(targets[:BATCH], STUDENT[:BATCH]))
    assert float(loss.call(targets, STUDENT, mask=empty)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", BANKED)
def test_losses_and_gradients_are_finite_whatever_rows_and_mask_are(name):
    random, loss = np.random.default_rng(7), losses.get(name)
    for _ in range(30):
        teacher, student, labels = random_batch(random)
        anchors = int(random.integers(1, len(labels) + 1))
        mask = (random.random((anchors, len(labels))) < 0.6) & ~np.eye(anchors, len(labels), dtype=bool)
        rows = tf.constant(student)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            total = loss.call(labels if loss.needs_labels else teacher, rows, mask=mask)
        assert np.isfinite(total)
        assert total > -1e-4
        assert np.isfinite(tf.convert_to_tensor(tape.gradient(total, rows))).all()


@pytest.mark.parametrize("name", ["csd", "seed"])
def test_dimensions_must_be_equal(name):
    with pytest.raises(ArgumentError, match="the student has 3 dimensions and the teacher 4"):
        losses.get(name).call(TEACHER, STUDENT[:, :3])
