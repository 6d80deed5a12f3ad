"""The supervised references against loops over pairs and triplets."""

import numpy as np
import pytest

from kdistill.losses import contrastive, triplet_semihard

RNG = np.random.default_rng(2)
LABELS = np.array([3, 1, 3, 2, 1, 3, 9])
ROWS = RNG.normal(size=(7, 3)).astype("float32") * 0.4


def distance(first: int, second: int) -> float:
    return float(np.linalg.norm(ROWS[first] - ROWS[second]))


@pytest.mark.parametrize("margin", [0.7, 0.85])
def test_contrastive_is_a_sum_over_unordered_pairs(margin):
    total = 0.0
    for i in range(7):
        for j in range(i + 1, 7):
            shortfall = max(0.0, margin - distance(i, j))
            total += 0.5 * (distance(i, j) ** 2 if LABELS[i] == LABELS[j] else shortfall**2)
    assert float(contrastive(LABELS, ROWS, margin=margin)) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("margin", [0.1, 0.2, 1.0])
def test_triplet_takes_the_nearest_negative_beyond_the_positive(margin):
    losses = []
    for a in range(7):
        negatives = [distance(a, n) for n in range(7) if LABELS[n] != LABELS[a]]
        for p in range(7):
            if p != a and LABELS[p] == LABELS[a]:
                farther = [d for d in negatives if d > distance(a, p)]
                negative = min(farther) if farther else max(negatives)
                losses.append(max(0.0, margin + distance(a, p) - negative))
    assert float(triplet_semihard(LABELS, ROWS, margin=margin)) == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_batch_of_one_class_has_no_triplets():
    assert float(triplet_semihard(np.zeros(7, int), ROWS)) == 0.0


def test_a_batch_without_equal_labels_has_no_positive_pairs():
    assert float(triplet_semihard(np.arange(7), ROWS)) == 0.0
    assert float(contrastive(np.arange(7), 10 * np.eye(7, dtype="float32"))) == 0.0


@pytest.mark.parametrize("loss", [contrastive, triplet_semihard])
def test_masked_pairs_do_not_count(loss):
    keep = np.arange(7) < 5
    mask = keep[:, None] & keep[None, :] & ~np.eye(7, dtype=bool)
    assert float(loss(LABELS, ROWS, mask=mask)) == pytest.approx(float(loss(LABELS[keep], ROWS[keep])), rel=1e-5)
