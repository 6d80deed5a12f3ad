"""The training loop over several replicas.

`fit` of Keras 3 fails under MultiWorkerMirroredStrategy (it converts per-replica batches and averages a scalar over an
axis that it has not), that of Keras 2 works. This loop calls the same callbacks and runs under both.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from kdistill.training.distiller import Distiller
from kdistill.training.distribution import lost_workers_told


def distributed_batches(
    strategy: tf.distribute.Strategy, batches: Callable[[int, range], tf.data.Dataset]
) -> tf.distribute.DistributedDataset:
    """Returns what `distributed_fit` takes: every process makes the batches of its own replicas and no more.

    Args:
        strategy: of the training.
        batches: called with R, the number of replicas, and the range of this process's; gives their parts of each
            batch, as `training_batches` does.
    """

    def of_this_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        return batches(replicas, range(first, first + local))

    return strategy.distribute_datasets_from_function(of_this_process)


def distributed_fit(
    distiller: Distiller,
    batches: tf.distribute.DistributedDataset,
    *,
    strategy: tf.distribute.Strategy,
    lengths: Sequence[int],
    first_epoch: int = 0,
    callbacks: keras.callbacks.CallbackList | Sequence[keras.callbacks.Callback] = (),
    verbose: int = 2,
) -> keras.callbacks.History:
    """Trains as `distiller.fit` does and returns its History; "loss" is the epoch's mean over steps and replicas.

    `kdistill.training.fit.train` calls it for a training that pauses and continues.

    Args:
        distiller: made, compiled and its `build_joint_space` called in the strategy's scope.
        batches: of `distributed_batches`, sum(lengths) of them.
        strategy: whose replicas take the steps together.
        lengths: steps of each epoch.
        first_epoch: the number of the first one.
        callbacks: of Keras; those that read weights must stand on every worker, since reading may need all of them.
        verbose: as in `fit`.

    Raises:
        WorkerLost: another worker is gone.
    """

    @tf.function
    def step(iterator: tf.data.Iterator) -> tf.Tensor:
        losses = strategy.run(distiller.update_step, args=(next(iterator),))
        return strategy.reduce("mean", losses, axis=None)

    told = callbacks
    if not isinstance(told, keras.callbacks.CallbackList):
        told = keras.callbacks.CallbackList(
            list(callbacks), add_history=True, add_progbar=verbose != 0, model=distiller,
            verbose=verbose, epochs=first_epoch + len(lengths), steps=max(lengths, default=0),
        )  # fmt: skip
    distiller.stop_training = False
    iterator = iter(batches)
    told.on_train_begin()
    logs: dict[str, float] = {}
    with lost_workers_told(strategy):
        for epoch, length in enumerate(lengths, start=first_epoch):
            told.on_epoch_begin(epoch)
            total = 0.0
            for number in range(length):
                told.on_train_batch_begin(number)
                total += float(step(iterator))
                logs = {"loss": total / (number + 1)}
                told.on_train_batch_end(number, logs)
                if distiller.stop_training:
                    break
            told.on_epoch_end(epoch, logs)
            if distiller.stop_training:
                break
    told.on_train_end(logs)
    return distiller.history
