"""What the two supported stacks spell differently: TensorFlow 2.21 with Keras 3, and 2.15 with Keras 2.15 and addons.

Everything else uses names that both have.
"""

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError, KdistillError
from kdistill.facts.losses import ADDONS_PREFIX

KERAS_2 = keras.__version__.startswith("2.")

ONLY_FIRST_REPLICA: Any = tf.VariableAggregation.ONLY_FIRST_REPLICA if KERAS_2 else "only_first_replica"
"""For `add_weight(aggregation=...)`: each replica may write, and the first one's value is kept."""

ops: Any = (
    types.SimpleNamespace(
        cast=tf.cast,
        matmul=tf.matmul,
        maximum=tf.maximum,
        mean=tf.reduce_mean,
        power=tf.pow,
        rsqrt=tf.math.rsqrt,
        square=tf.square,
        tanh=tf.tanh,
    )
    if KERAS_2
    else keras.ops
)
"""What a student's own layers compute with: under Keras 3 each of its backends runs them."""

INPUT_SHAPE_KEY = "batch_input_shape" if KERAS_2 else "batch_shape"
"""The entry of an InputLayer's configuration that holds its whole shape."""


def forget_names() -> None:
    """Lets Keras name the layers to come as in a new process, without waiting for what was dropped to be freed."""
    if KERAS_2:
        keras.backend.clear_session()
    else:
        keras.backend.clear_session(free_memory=False)


def listed(tensors: Any) -> list[Any]:
    """Returns the inputs or outputs of a layer or model as a list; of a single one, Keras 2 gives the tensor itself."""
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def scaled(loss: tf.Tensor, optimizer: Any) -> tf.Tensor:
    """Returns the loss times the optimizer's loss scale (mixed_float16)."""
    if hasattr(optimizer, "scale_loss"):
        return optimizer.scale_loss(loss)
    return optimizer.get_scaled_loss(loss) if hasattr(optimizer, "get_scaled_loss") else loss


def unscaled(gradients: list[Any], optimizer: Any) -> list[Any]:
    """Returns the gradients of a `scaled` loss for `apply_gradients`: Keras 3 unscales there, Keras 2 before."""
    return optimizer.get_unscaled_gradients(gradients) if hasattr(optimizer, "get_unscaled_gradients") else gradients


def remembers_unbiased_variance(layer: keras.layers.BatchNormalization) -> bool:
    """Says whether batch normalisation of one process would remember the unbiased variance: Keras 2's fused kernel."""
    return bool(getattr(layer, "fused", False))


def old_adam(learning_rate: Any) -> Any:
    """Returns Adam as it was before Keras 2.11, which the wrappers of tensorflow-addons are written for."""
    return keras.optimizers.legacy.Adam(learning_rate)


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Lets an error of ours through as itself that was raised while a graph was traced; Keras 2's tracing wraps it."""
    try:
        yield
    except Exception as error:
        ours: BaseException | None = error
        while ours is not None and not isinstance(ours, KdistillError):
            ours = ours.__cause__ or ours.__context__
        if ours is None or type(error).__name__ != "StagingError":
            raise
        raise ours from None


def addon(name: str) -> Any:
    """Returns the class or function that tensorflow-addons registers under `name` ("Addons>...").

    Raises:
        ArgumentError: the package cannot be imported here, or registers nothing under that name.
    """
    try:
        import tensorflow_addons  # noqa: F401  (importing it is what registers the names)
    except Exception as error:  # Under Keras 3 the import fails in many ways.
        raise ArgumentError(
            f"{name!r} belongs to tensorflow-addons, which does not import in this environment; "
            "use the environment of `pip install .[addons]`"
        ) from error
    known = keras.saving.get_custom_objects()
    if name not in known:
        names = ", ".join(sorted(key for key in known if key.startswith(ADDONS_PREFIX)))
        raise ArgumentError(f"tensorflow-addons registers no {name!r}; it registers {names}")
    return known[name]
