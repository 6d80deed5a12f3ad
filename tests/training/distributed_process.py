"""Trains on two logical CPU devices under MirroredStrategy and alone; prints what both came to, as JSON.

A process of its own, since logical devices are set before TensorFlow is used.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from kdistill import losses, students
from kdistill.data.pipeline import training_batches
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation, SynchronisedBatchNormalization
from kdistill.training.distiller import Distiller
from kdistill.training.distribution import copy_of, gather_rows, strategy_of
from kdistill.training.fit import train

STEPS, BATCH = 4, 8
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (24, 20, 20, 3), np.uint8)
TEACHER = RANDOM.normal(size=(24, 5)).astype(np.float32)
LABELS = np.arange(24, dtype=np.int64) % 3

CASES = {
    "bank": ({"mixtures": 6, "bank": 20}, "softmax_ranking", TEACHER),
    "rival": ({"projection_dim": 5}, "regression", TEACHER),
    "labels with a bank": ({"bank": 20}, "contrastive", LABELS),
}


def distiller_of(student, loss, joint_space, mixtures=0, bank=0, projection_dim=None):
    """Returns a compiled distiller around the student."""
    keras.utils.set_random_seed(2)
    distiller = Distiller(
        student,
        JointSpaceInterpolation(mixtures, pairing="teacher_knn") if mixtures else None,
        EmbeddingBank(bank) if bank else None,
        projection_dim=projection_dim,
        joint_space=joint_space,
    )
    distiller.build_joint_space(None if losses.get(loss).needs_labels else TEACHER.shape[-1])
    distiller.compile(keras.optimizers.SGD(0.05), loss=loss)
    distiller.optimizer.build(distiller.trainable_variables)
    return distiller


def trained_by(strategy, options, loss, targets, joint_space="global"):
    """Returns the losses of the steps; after the last, some embeddings, what was remembered, and the bank's rows."""
    keras.utils.set_random_seed(1)
    # Its batch normalisation is trained, so it must be synchronised.
    student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=4)

    def batches(first_step, last_step, **parts):
        return training_batches(
            PIXELS, targets, batch_size=BATCH, image_size=16, first_step=first_step, last_step=last_step, seed=3,
            augment=True, **parts,
        )  # fmt: skip

    if strategy is None:
        distiller = distiller_of(student, loss, joint_space, **options)
    else:
        with strategy.scope():
            distiller = distiller_of(copy_of(student, synchronised=True), loss, joint_space, **options)
    # Epochs of one step, so that the history holds the loss of each.
    history = train(distiller, batches, steps=STEPS, pauses=range(1, STEPS + 1), strategy=strategy, verbose=0)
    trained = copy_of(distiller.student, synchronised=False)
    return {
        "loss": history.history["loss"],
        "embeddings": trained(PIXELS[:4, :16, :16]).numpy().tolist(),
        "statistics": [
            np.array(weight).tolist()
            for stage in range(3)
            for weight in trained.get_layer(f"norm_{stage}").get_weights()[2:]
        ],
        "bank": [] if distiller.bank is None else distiller.bank.teacher_rows.numpy().tolist(),
    }


def gathered_gradient(strategy):
    """Returns the gathered rows and the replicas' gradients of the sum of their products with 0, 1, 2, ..."""

    def of_replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = tf.reshape(tf.range(6.0), [3, 2]) + 10.0 * tf.cast(number, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            everywhere = gather_rows(rows)
            objective = tf.reduce_sum(everywhere * tf.reshape(tf.range(12.0), [6, 2])) / 2.0
        return everywhere, tape.gradient(objective, rows)

    rows, gradients = tf.function(lambda: strategy.run(of_replica))()
    return [[part.numpy().tolist() for part in strategy.experimental_local_results(one)] for one in (rows, gradients)]


def far_from_zero(strategy):
    """Returns what two replicas make of numbers whose mean is 1,000 times their spread, and what is exact."""
    rows = RANDOM.normal(1000.0, 1.0, (8, 3)).astype(np.float32)
    with strategy.scope():
        layer = SynchronisedBatchNormalization(epsilon=1e-6)
        layer.build(rows.shape)

    def of_replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return layer(tf.reshape(tf.constant(rows), [2, 4, 3])[number], training=True)

    both = tf.function(lambda: strategy.run(of_replica))()
    exact = rows.astype(np.float64)
    return {
        "two": np.concatenate([part.numpy() for part in strategy.experimental_local_results(both)]).tolist(),
        "exact": ((exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-6)).tolist(),
    }


def main():
    """Trains every case both ways."""
    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.config.experimental.enable_op_determinism()
    strategy = strategy_of("mirrored")
    result = {"replicas": strategy.num_replicas_in_sync, "gather": gathered_gradient(strategy), "cases": {}}
    result["far_from_zero"] = far_from_zero(strategy)
    for name, case in CASES.items():
        result["cases"][name] = {"one": trained_by(None, *case), "two": trained_by(strategy, *case)}
    result["replica"] = trained_by(strategy, *CASES["bank"], joint_space="replica")
    print(json.dumps(result), file=sys.stdout)


if __name__ == "__main__":
    main()
