"""Pair masks against a loop over all pairs that states the rules one by one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers import pair_mask

BATCH = 3
PARENTS = np.array([[0, 1], [1, 2], [2, 1], [-1, -1]], np.int32)
FRESH = np.array([[True, False], [True, True], [False, True]])


def allowed(anchor: int, other: int, options: dict, bank: np.ndarray | None) -> bool:
    """The rules of `pair_mask`, for one pair of rows."""
    mixtures = len(PARENTS)

    def kind(row: int) -> str:
        return "originals" if row < BATCH else "mixtures" if row < BATCH + mixtures else "bank"

    def parents(row: int) -> set[int]:
        return {row} if row < BATCH else set(PARENTS[row - BATCH].tolist())

    def takes_part(row: int, role: str) -> bool:
        if kind(row) == "bank":
            return options["bank_role"] in (role, "both")
        return options[role] in (kind(row), "both")

    singular = {"anchors": "anchors", "gallery": "gallery"}
    if not takes_part(anchor, singular["anchors"]) or not takes_part(other, singular["gallery"]):
        return False
    if anchor == other or any(kind(row) == "mixtures" and -1 in parents(row) for row in (anchor, other)):
        return False
    kinds = {kind(anchor), kind(other)}
    if kinds == {"bank"}:
        return False
    if "bank" in kinds:
        row, stored = sorted((anchor, other))
        return all(bank[parent, stored - BATCH - mixtures] for parent in parents(row))
    if kinds == {"originals", "mixtures"}:
        original, mixture = sorted((anchor, other))
        return options["rank_parents"] or original not in parents(mixture)
    return True


@pytest.mark.parametrize("bank_role", [None, "gallery", "anchors", "both"])
@pytest.mark.parametrize("rank_parents", [False, True])
def test_every_combination_equals_the_loop(bank_role, rank_parents):
    bank = None if bank_role is None else FRESH
    total = BATCH + len(PARENTS) + (0 if bank is None else FRESH.shape[1])
    for anchors, gallery in itertools.product(("originals", "mixtures", "both"), repeat=2):
        options = {"anchors": anchors, "gallery": gallery, "rank_parents": rank_parents}
        options["bank_role"] = bank_role or "gallery"
        mask = pair_mask(tf.constant(PARENTS), BATCH, bank=bank, **options).numpy()
        expected = np.array([[allowed(a, g, options, bank) for g in range(total)] for a in range(total)])
        assert mask.shape[1] == total
        np.testing.assert_array_equal(mask, expected[: len(mask)])
        # What was left out are rows that rank nothing.
        assert not expected[len(mask) :].any()


def test_originals_as_anchors_need_no_more_than_their_own_rows():
    assert pair_mask(tf.constant(PARENTS), BATCH).shape == (BATCH, BATCH + len(PARENTS))
    assert pair_mask(tf.constant(PARENTS), BATCH, anchors="both").shape == (7, 7)


def test_without_mixtures_every_row_meets_every_other():
    mask = pair_mask(tf.zeros((0, 2), tf.int32), 4).numpy()
    np.testing.assert_array_equal(mask, ~np.eye(4, dtype=bool))


def test_a_single_row_has_nothing_to_rank():
    assert not pair_mask(tf.fill((5, 2), -1), 1, anchors="both").numpy().any()


def test_it_works_in_compiled_graphs_of_any_batch():
    @tf.function(jit_compile=True)
    def graph(rows, parents):
        return pair_mask(parents, tf.shape(rows)[0], anchors="both")

    parents = tf.constant(PARENTS)
    np.testing.assert_array_equal(graph(tf.zeros((3, 2)), parents), pair_mask(parents, 3, anchors="both"))
    assert graph(tf.zeros((5, 2)), parents).shape == (9, 9)


@pytest.mark.parametrize("options", [{"anchors": "all"}, {"gallery": "bank"}, {"bank_role": "none"}])
def test_unknown_roles_are_refused(options):
    with pytest.raises(ArgumentError, match="choose one of"):
        pair_mask(tf.constant(PARENTS), BATCH, **options)
