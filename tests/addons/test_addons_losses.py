"""tensorflow-addons: its losses by name, and ours equal to its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_addons as tfa

from kdistill import losses
from kdistill.errors import ArgumentError
from kdistill.layers.geometry import safe_sqrt, squared_distances


def random_batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(16, 5)).astype("float32")
    # Three classes of several rows each, so that every anchor has positives and negatives.
    return rng.permutation(np.arange(16) % 3), rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_pairwise_distances_are_equal(seed):
    _, rows = random_batch(seed)
    theirs = tfa.losses.metric_learning.pairwise_distance(tf.constant(rows))
    np.testing.assert_allclose(safe_sqrt(squared_distances(rows, rows)), theirs, atol=1e-3)
    squared = tfa.losses.metric_learning.pairwise_distance(tf.constant(rows), squared=True)
    np.testing.assert_allclose(squared_distances(rows, rows), squared, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplet_semihard_is_equal_with_its_gradient(seed, margin):
    labels, rows = random_batch(seed)
    rows = tf.constant(rows)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rows)
        ours = losses.triplet_semihard(labels, rows, margin=margin)
        theirs = tfa.losses.triplet_semihard_loss(labels, rows, margin=margin)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(ours, rows), tape.gradient(theirs, rows), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.7, 0.85])
def test_contrastive_is_half_the_sum_of_its_pairs(seed, margin):
    labels, rows = random_batch(seed)
    first, second = np.triu_indices(16, 1)
    distances = np.linalg.norm(rows[first] - rows[second], axis=1)
    theirs = tfa.losses.contrastive_loss((labels[first] == labels[second]).astype("float32"), distances, margin)
    assert float(losses.contrastive(labels, rows, margin=margin)) == pytest.approx(0.5 * np.sum(theirs), rel=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "TripletSemiHardLoss",
        "TripletHardLoss",
        "LiftedStructLoss",
        "ContrastiveLoss",
        "NpairsLoss",
        "NpairsMultilabelLoss",
        "PinballLoss",
        "SigmoidFocalCrossEntropy",
        "SparsemaxLoss",
        "triplet_semihard_loss",
        "contrastive_loss",
        "pinball_loss",
    ],
)
def test_registered_losses_are_named_and_survive_saving(name):
    loss = losses.get(f"Addons>{name}")
    labels, rows = random_batch(0)
    rows = tf.constant(rows)
    targets = labels if loss.needs_labels else tf.nn.softmax(rows[::-1])
    with tf.GradientTape() as tape:
        tape.watch(rows)
        total = loss(targets, rows)
    assert np.all(np.isfinite(tape.gradient(total, rows)))
    rebuilt = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(rebuilt(targets, rows)) == float(total)


def test_named_triplet_loss_is_the_package_s_own():
    labels, rows = random_batch(0)
    expected = tfa.losses.TripletSemiHardLoss(margin=0.5)(labels, rows)
    assert float(losses.get("Addons>TripletSemiHardLoss", margin=0.5)(labels, rows)) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Addons>NoSuchLoss", {}, "registers no"),
        ("Addons>LAMB", {}, "is not a loss"),
        ("Addons>TripletSemiHardLoss", {"margins": 1}, "takes the options"),
    ],
)
def test_mistakes_in_its_names_are_told_in_a_sentence(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        losses.get(name, **options)
