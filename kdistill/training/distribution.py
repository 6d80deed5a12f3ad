"""Training on several devices or machines: the strategy, the chief, rows of all replicas."""

import contextlib
import copy
import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import ArgumentError, KdistillError
from kdistill.facts.joint_space import STRATEGIES
from kdistill.layers.synchronised_norm import SynchronisedBatchNormalization

_LOSS_OF_A_WORKER = (
    tf.errors.UnavailableError,
    tf.errors.InternalError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class WorkerLost(KdistillError):
    """Another worker was lost, so that this one cannot go on; exit status 75 tells a supervisor to start it again."""

    exit_status = 75


@functools.cache
def strategy_of(name: str) -> tf.distribute.Strategy | None:
    """Returns the strategy of that name, the same object at each call, or None for "none".

    "mirrored" takes all GPUs of this machine, or all of TensorFlow's logical CPU devices where there is none.
    "multiworker" takes the cluster from the environment variable TF_CONFIG, must come before anything else that
    TensorFlow does in the process, and waits until all workers have started.

    Raises:
        ArgumentError: an unknown name.
        KdistillError: a TF_CONFIG that cannot be used, or TensorFlow was used before.
    """
    if name not in STRATEGIES:
        raise ArgumentError(f"strategy {name!r} is unknown; choose one of {', '.join(STRATEGIES)}")
    if name == "none":
        return None
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, KeyError, tf.errors.OpError) as error:
        raise KdistillError(f"the workers that TF_CONFIG names cannot be joined: {error}") from error


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Says whether this process writes the run's files: the task `chief` of TF_CONFIG, or worker 0 without one."""
    resolver = None if strategy is None else strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if resolver.task_type == "chief":
        return True
    return resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs


def gather_rows(rows: tf.Tensor) -> tf.Tensor:
    """Returns the rows of all replicas, [R·B, ...] from [B, ...] on each of R replicas, in the order of the replicas.

    For a replica's step, with the same B everywhere; outside of one, rows come back as they are. The gradient of a row
    is the sum of what every replica sends back to it: with an objective of loss / R on each, as in
    `Distiller.update_step`, the replicas' gradients sum to the gradient that one process has on all rows.

    Each replica adds its rows, in their place, to zeros (exact in floating point): `all_gather` itself refuses one
    replica a process in TensorFlow 2.15.
    """
    context = tf.distribute.get_replica_context()
    replicas = 1 if context is None else context.num_replicas_in_sync
    if replicas == 1:
        return rows
    mine = tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=rows.dtype)
    places = tf.reshape(mine, [replicas] + [1] * len(rows.shape)) * rows[None]
    return tf.reshape(context.all_reduce("sum", places), tf.concat([[-1], tf.shape(rows)[1:]], 0))


def copy_of(student: keras.Model, *, synchronised: bool) -> keras.Model:
    """Returns the same student, weights copied, whose variables belong to the strategy in whose scope this is called.

    Args:
        student: a Functional model.
        synchronised: whether batch normalisation that is trained takes its statistics over all replicas.

    Raises:
        ArgumentError: batch normalisation that renormalises is to be synchronised.
    """
    config = copy.deepcopy(student.get_config())
    for layer in config["layers"]:
        # Recorded build shapes would build layers before they are called.
        layer.pop("build_config", None)
        if layer["class_name"] in ("BatchNormalization", SynchronisedBatchNormalization.__name__):
            if synchronised and layer["config"].get("renorm"):
                raise ArgumentError(
                    f"the layer {layer['name']!r} renormalises, which takes the statistics of one replica only"
                )
            layer["config"]["synchronized"] = False
            kind = SynchronisedBatchNormalization if synchronised else keras.layers.BatchNormalization
            layer.update(
                class_name=kind.__name__,
                module=kind.__module__ if synchronised else "keras.layers",
                registered_name=keras.saving.get_registered_name(kind) if synchronised else None,
            )
    copied = student.__class__.from_config(config)
    copied.set_weights(student.get_weights())
    return copied


def chief_says(strategy: tf.distribute.Strategy, number: int) -> int:
    """Returns the number that the chief gave, on every worker; waits until all have called it."""
    return everyone_says(strategy, number)[0]


def everyone_says(strategy: tf.distribute.Strategy, number: int) -> list[int]:
    """Returns the number of each replica, the chief's first; waits until all workers have called it.

    Raises:
        WorkerLost: another worker is gone.
    """

    @tf.function
    def exchange() -> Any:
        return strategy.run(lambda: gather_rows(tf.constant([number], tf.int32)))

    with lost_workers_told(strategy):
        return np.asarray(strategy.experimental_local_results(exchange())[0]).tolist()


@contextlib.contextmanager
def lost_workers_told(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Turns what TensorFlow raises when another process is gone into one sentence.

    Raises:
        WorkerLost: another worker is gone.
    """
    try:
        yield
    except _LOSS_OF_A_WORKER as error:
        if strategy is None or strategy.cluster_resolver is None or not strategy.cluster_resolver.task_type:
            raise
        raise WorkerLost(
            "another worker was lost; start the same command again on every worker that stopped, and training "
            f"continues from the last checkpoint ({type(error).__name__})"
        ) from error
