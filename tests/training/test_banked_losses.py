"""A bank under losses that take past rows without mixtures: what a step computes, and by what a bank knows an image."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill import losses, students
from kdistill.errors import ArgumentError
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.layers.numbers import numbers_of_labels
from kdistill.training.distiller import Distiller

pytestmark = [pytest.mark.long, pytest.mark.both_stacks]

RNG = np.random.default_rng(5)
BANKED = [name for name in losses.names() if losses.get(name).banks]
LABELLED = [name for name in BANKED if losses.get(name).needs_labels]
DIM = 4
PIXELS = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)
TEACHER = RNG.normal(size=(12, DIM)).astype("float32")
LABELS = np.arange(12) % 3


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype("float32")


def distiller_of(name: str, size: int = 6, **options) -> Distiller:
    keras.utils.set_random_seed(2)
    student = students.build("small_cnn", alpha=0.25, image_size=8, embedding_dim=DIM)
    distiller = Distiller(student, bank=EmbeddingBank(size) if size else None, **options)
    distiller.compile(keras.optimizers.SGD(0.05), loss=name)
    return distiller


def targets_of(name: str) -> np.ndarray:
    return LABELS if name in LABELLED else TEACHER


@pytest.mark.parametrize("name", BANKED)
def test_a_step_ranks_the_batch_and_past_rows_of_other_images(name):
    distiller, targets, loss = distiller_of(name), targets_of(name), losses.get(name)
    rows = unit(RNG.normal(size=(3, 4, DIM)))
    batches = [np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7]), np.array([5, 0, 8, 9])]
    stored: list[tuple[int, np.ndarray]] = []
    for ids, embeddings in zip(batches, rows, strict=True):
        got = distiller.joint_loss(targets[ids], embeddings, training=True, ids=ids)
        # By hand: the last six rows, without images of this batch and without older rows of the same image.
        past = [(number, row) for number, row in stored[-6:] if number not in ids]
        numbers = np.array([*ids, *(number for number, _ in past)])
        everything = np.stack([*embeddings, *(row for _, row in past)])
        answers = targets[numbers] if name in LABELLED else unit(targets[numbers])
        mask = np.ones((4, len(numbers)), bool) & ~np.eye(4, len(numbers), dtype=bool)
        np.testing.assert_allclose(got, loss.call(answers, everything, mask=mask), rtol=1e-4)
        stored += list(zip(ids.tolist(), embeddings, strict=True))
    assert [number for number, _ in past] == [2, 3, 4, 6, 7]


@pytest.mark.parametrize("name", BANKED)
def test_an_image_in_the_bank_is_not_its_own_partner(name):
    distiller, targets = distiller_of(name), targets_of(name)[:4]
    rows = RNG.normal(size=(4, DIM)).astype("float32")
    ids = np.arange(4)
    first, again = (float(distiller.joint_loss(targets, rows, training=True, ids=ids)) for _ in range(2))
    assert first == pytest.approx(again, rel=1e-6)
    # Other numbers are other images: they meet those of the first batch.
    targets, rows = targets_of(name)[4:8], RNG.normal(size=(4, DIM)).astype("float32")
    alone = float(distiller_of(name).joint_loss(targets, rows, training=True, ids=ids + 4))
    assert float(distiller.joint_loss(targets, rows, training=True, ids=ids + 4)) != pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize("name", BANKED)
def test_a_bank_takes_no_part_in_evaluation(name):
    distiller, rows, targets = distiller_of(name), RNG.normal(size=(8, DIM)).astype("float32"), targets_of(name)
    distiller.joint_loss(targets[:4], rows[:4], training=True, ids=np.arange(4))
    stored = distiller.bank.get_weights()
    expected = losses.get(name).call(targets[4:8], rows[4:])
    np.testing.assert_allclose(distiller.joint_loss(targets[4:8], rows[4:]), expected, rtol=1e-6)
    for before, after in zip(stored, distiller.bank.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_without_ids_are_refused(name):
    with pytest.raises(ArgumentError, match=r"give \(labels, ids\) as targets, or leave out the bank"):
        distiller_of(name).fit(PIXELS, LABELS, batch_size=4, verbose=0)


def losses_of_steps(distiller: Distiller, ids=None) -> list[float]:
    """Three steps on rows of its own choice, of which the last meets images of the first again."""
    rows = np.random.default_rng(1).normal(size=(3, 4, DIM)).astype("float32")
    batches = [np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7]), np.array([5, 0, 8, 9])]
    return [
        float(distiller.joint_loss(TEACHER[batch], embeddings, training=True, ids=ids if ids is None else ids[batch]))
        for batch, embeddings in zip(batches, rows, strict=True)
    ]


@pytest.mark.parametrize("name", ["csd", "seed", "darkrank"])
def test_teacher_vectors_are_known_by_their_bits_without_ids(name):
    expected = losses_of_steps(distiller_of(name), np.arange(12))
    np.testing.assert_allclose(losses_of_steps(distiller_of(name)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", BANKED)
def test_mixtures_beside_the_bank_are_refused(name):
    with pytest.raises(ArgumentError, match="mixtures"):
        distiller_of(name, interpolation=JointSpaceInterpolation(4))


@pytest.mark.parametrize("rank_against", ["originals", "mixtures"])
def test_the_roles_of_mixtures_do_not_matter_where_there_are_none(rank_against):
    other = distiller_of("seed", rank_against=rank_against, anchors="mixtures")
    np.testing.assert_allclose(losses_of_steps(other), losses_of_steps(distiller_of("seed")), rtol=1e-6)


def test_a_projection_stands_before_the_bank():
    distiller = distiller_of("seed", projection_dim=7)
    teacher = RNG.normal(size=(12, 7)).astype("float32")
    distiller.fit(PIXELS, teacher, batch_size=4, verbose=0)
    assert distiller.bank.student_rows.shape == (6, 7)


LARGE = 2**53
DIFFERENT = {
    "int64": np.array([LARGE, LARGE + 1, -LARGE, 0, -1, 2**63 - 1], np.int64),
    "uint64": np.array([0, 2**64 - 1, 2**64 - 2, 2**63], np.uint64),
    "int8": np.arange(-128, 128, dtype=np.int8),
    "bool": np.array([False, True]),
    "float32": np.array([0.0, 1e-30, 0.1, 0.10000001, -0.1, 16777216.0], np.float32),
    "float64": np.array([0.1, np.nextafter(0.1, 1), 1e-300, 1e300], np.float64),
    "str": np.array(["red", "Red", ""]),
}


@pytest.mark.parametrize("labels", DIFFERENT.values(), ids=DIFFERENT.keys())
@pytest.mark.parametrize("column", [False, True])
def test_a_bank_keeps_labels_exactly(labels, column):
    given = tf.constant(np.concatenate([labels, labels]))
    numbers = numbers_of_labels(given[:, None] if column else given)
    bank = EmbeddingBank(len(given))
    rows = RNG.normal(size=(len(given), 3)).astype("float32")
    bank((rows, numbers), ids=np.arange(len(given)))
    kept = bank((rows, numbers), ids=np.arange(len(given)))[1].numpy()
    assert kept.dtype == np.int64
    expected = np.arange(len(given)) % len(labels)
    np.testing.assert_array_equal(kept[:, None] == kept[None, :], expected[:, None] == expected[None, :])


def test_the_two_zeros_are_one_label():
    assert len(set(numbers_of_labels(tf.constant([0.0, -0.0])).numpy().tolist())) == 1


def test_whole_numbers_come_back_as_they_were():
    bank, labels = EmbeddingBank(2), np.array([LARGE + 1, -7])
    bank((np.eye(2, dtype="float32"), labels), ids=np.array([0, 1]))
    np.testing.assert_array_equal(bank((np.eye(2, dtype="float32"), labels), ids=np.array([0, 1]))[1], labels)


def test_a_bank_of_labels_keeps_no_vectors_and_needs_ids():
    bank, rows = EmbeddingBank(4), np.eye(2, dtype="float32")
    bank((rows, np.array([3, 4])), ids=np.array([0, 1]))
    with pytest.raises(ArgumentError, match="made for labels and keeps no vectors"):
        bank((rows, rows), ids=np.array([0, 1]))
    with pytest.raises(ArgumentError, match="needs ids"):
        bank((rows, np.array([3, 4])))


def test_labels_of_one_class_beyond_float_precision_stay_apart():
    near = np.array([2**24, 2**24 + 1] * 6)
    rows = np.tile(np.eye(2, dtype="float32"), (2, 1))
    distiller = distiller_of("contrastive", size=8)
    values = [
        float(distiller.joint_loss(near[:4], np.pad(rows, ((0, 0), (0, DIM - 2))), training=True, ids=ids))
        for ids in (np.arange(4), np.arange(4, 8))
    ]
    # Equal labels lie on each other, others farther than the margin, in the batch and in the bank.
    np.testing.assert_allclose(values, 0.0, atol=1e-6)


@pytest.mark.parametrize("name", ["contrastive", "seed"])
def test_training_continues_from_a_saved_distiller_with_its_bank(name, tmp_path):
    targets = (targets_of(name), np.arange(12))

    def fit(distiller):
        return distiller.fit(PIXELS, targets, batch_size=4, shuffle=False, verbose=0).history["loss"]

    distiller = distiller_of(name)
    fit(distiller)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    for mine, theirs in zip(distiller.bank.get_weights(), loaded.bank.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(fit(loaded), fit(distiller), rtol=1e-5)
