"""The joint space across the two, against a loop over anchors and the vectors that they rank."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.layers.pairs import pair_mask
from kdistill.losses import get
from kdistill.losses.across_spaces import AcrossSpaces
from kdistill.training.distiller import Distiller

B, M, K, D = 5, 4, 7, 6


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    return tuple(unit(random.normal(size=(count, D))) for count in (B + M, B + M, K))


PARENTS = np.array([[0, 1], [2, 3], [-1, -1], [4, 0]], np.int32)


def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def naive(teacher, student, known, mask, pointwise, own):
    divergences = []
    for anchor in range(len(mask)):
        if not mask[anchor].any():
            continue
        listed = [teacher[row] for row in range(B, B + M) if mask[anchor, row]] + list(known)
        p = softmax(np.array([teacher[anchor] @ one for one in listed]) / 0.05)
        q = softmax(np.array([student[anchor] @ one for one in listed]) / 0.05)
        divergences.append(np.sum(p * np.log(p / q)))
    total = np.mean(divergences) + pointwise * np.mean([1 - student[b] @ teacher[b] for b in range(B)])
    return total + own * float(get("softmax_ranking").call(teacher, student, mask=mask))


@pytest.mark.parametrize("anchors", ["originals", "mixtures", "both"])
def test_each_anchor_ranks_the_mixtures_and_all_known_vectors(rows, anchors):
    teacher, student, known = rows
    mask = pair_mask(PARENTS, B, anchors=anchors).numpy()
    loss = AcrossSpaces(get("softmax_ranking"), known, pointwise=2.0, own=0.5)
    found = loss.call(teacher, student, mask=tf.constant(mask), originals=B, mixtures=M)
    assert float(found) == pytest.approx(naive(teacher, student, known, mask, 2.0, 0.5), rel=1e-4)


@pytest.mark.parametrize("name", ["softmax_ranking", "list_mle", "pairwise_logistic", "gram", "csd", "seed"])
def test_a_student_that_stands_where_the_teacher_does_cannot_be_improved(rows, name):
    teacher, _, known = rows
    student = tf.Variable(teacher[:B])
    loss = AcrossSpaces(get(name), known, pointwise=1.0)
    with tf.GradientTape() as tape:
        value = loss.call(teacher[:B], student)
    if name not in ("list_mle", "pairwise_logistic", "csd", "seed"):  # whose best value is not 0 at equal rows
        assert float(value) == pytest.approx(0, abs=1e-5)
        np.testing.assert_allclose(tape.gradient(value, student), 0, atol=1e-4)
    assert np.isfinite(float(value))


def test_known_vectors_alone_are_enough_and_none_are_ranked_in_vain(rows):
    teacher, student, known = rows
    one = AcrossSpaces(get("softmax_ranking"), known)
    assert float(one.call(teacher[:1], student[:1])) == pytest.approx(1 - float(teacher[0] @ student[0]), rel=1e-4)
    nothing = AcrossSpaces(get("softmax_ranking"), np.zeros((0, D)))
    cosines = np.sum(teacher[:B] * student[:B], axis=1)
    assert float(nothing.call(teacher[:B], student[:B])) == pytest.approx(np.mean(1 - cosines), rel=1e-4)


def test_a_distiller_ranks_across_and_is_saved_and_loaded(rows, tmp_path):
    _, _, known = rows
    random = np.random.default_rng(1)
    image = keras.Input((8,), name="image")
    student = keras.Model(image, keras.layers.UnitNormalization()(keras.layers.Dense(D)(image)))
    images = random.normal(size=(32, 8)).astype(np.float32)
    targets = unit(images @ random.normal(size=(8, D)))
    distiller = Distiller(student, JointSpaceInterpolation(8), EmbeddingBank(16))
    distiller.compile(keras.optimizers.Adam(1e-2), loss=AcrossSpaces(get("softmax_ranking"), known, own=0.5))
    before = np.mean(np.sum(student.predict(images, verbose=0) * targets, axis=1))
    history = distiller.fit(images, targets, batch_size=8, epochs=15, verbose=0)
    after = np.mean(np.sum(student.predict(images, verbose=0) * targets, axis=1))
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert after > before + 0.2
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    np.testing.assert_allclose(loaded.ranking_loss.known, known, atol=1e-6)
    assert loaded.evaluate(images, targets, verbose=0) == pytest.approx(distiller.evaluate(images, targets, verbose=0))


def test_what_cannot_rank_across_is_refused(rows):
    _, _, known = rows
    with pytest.raises(ArgumentError, match="'regression' ranks no rows under a mask"):
        AcrossSpaces(get("regression"), known)
    with pytest.raises(ArgumentError, match="'csd' ranks no mixtures"):
        AcrossSpaces(get("csd"), known, own=1.0)
    with pytest.raises(ArgumentError, match=r"a table \[K, D\]; an array of shape \[6\]"):
        AcrossSpaces(get("softmax_ranking"), known[0])
    with pytest.raises(ArgumentError, match="the student has 5 dimensions and the teacher 6"):
        AcrossSpaces(get("softmax_ranking"), known).call(tf.ones((2, D)), tf.ones((2, 5)))
