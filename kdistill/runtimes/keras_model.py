"""Runs Keras models and TensorFlow SavedModels, each as one compiled graph whose outputs are known by name."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.console.quiet import quiet
from kdistill.errors import KdistillError, first_line
from kdistill.runtimes.image_model import (
    ImageModel,
    Run,
    image_run,
    in_batches,
    only_input,
    pick_output,
    read_image_input,
)
from kdistill.runtimes.keras_config import scales_itself
from kdistill.runtimes.keras_files import load_keras_file


def start_tensorflow(num_threads: int) -> None:
    """Imports TensorFlow without its chatter and with this many threads; first of all that a process does with it."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with quiet():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def open_keras_file(path: Path | str, model: str) -> ImageModel:
    """Opens a `.keras` file as `open_keras_model` does; `model` is its name in errors."""
    return open_keras_model(load_keras_file(path), model)


def open_keras_model(network: Any, model: str) -> ImageModel:
    """Returns a built keras.Model from one image to one vector, ready to run.

    Of several outputs, in a dictionary, list or tuple, the one called `embedding` counts: by its key, or by the name of
    the layer that gives it.

    Raises:
        KdistillError: other inputs, or outputs among which none is named so.
    """
    import tensorflow as tf

    inputs = getattr(network, "inputs", None)
    if not inputs:
        raise KdistillError(f"{model} is not built, so its input is not known; wrap it in a function")
    tensor = only_input(model, inputs)
    dtype = tf.as_dtype(tensor.dtype)
    source = read_image_input(model, tensor.shape, dtype.as_numpy_dtype)
    signature = [tf.TensorSpec([source.batch, *tensor.shape[1:]], dtype)]
    graph = tf.function(lambda images: network(images, training=False), input_signature=signature)
    names = [name for name, _ in _named(graph.get_concrete_function().structured_outputs)]
    layers = list(getattr(network, "output_names", ()))
    if len(layers) == len(names) and not any(names):
        names = layers
    chosen = names.index(pick_output(names, model))
    return ImageModel(
        source,
        image_run(_runner(lambda images: [*_named(graph(images))][chosen][1], model), source, model),
        parameters=int(network.count_params()),
        scales_itself=scales_itself(network),
    )


def open_saved_model(path: Path | str, model: str) -> ImageModel:
    """Opens a SavedModel folder by its signature `serving_default`; `model` is its name in errors.

    Raises:
        KdistillError: damaged, without the signature, or with other inputs.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        arguments, outputs = signature.structured_input_signature[1], signature.structured_outputs
    # The loader raises many kinds of errors on a damaged folder; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"{path} cannot be loaded as a SavedModel: {first_line(error)}") from error
    argument = only_input(model, list(arguments))
    spec = arguments[argument]
    shape = [] if spec.shape.rank is None else spec.shape.as_list()
    source = read_image_input(model, shape, spec.dtype.as_numpy_dtype)
    output = pick_output(list(outputs), model)

    def run(images: Any) -> Any:
        # Named here, so that the loaded object, which owns the variables, lives as long as the function.
        return loaded.signatures["serving_default"](**{argument: images})[output]

    return ImageModel(source, image_run(_runner(run, model), source, model))


def as_function(model: Any) -> Run:
    """Returns a function from uint8 pixels [B, H, W, 3] to float32 [B, D].

    A Keras model runs as one compiled graph; batches shorter than its fixed batch size are padded. Any function is
    returned as it is.
    """
    import keras
    import tensorflow as tf

    if not isinstance(model, keras.Model):
        return model
    fixed = model.inputs[0].shape[0]
    # One signature for batches of any length: the last, shorter batch is not traced anew.
    signature = [tf.TensorSpec([fixed, *model.inputs[0].shape[1:]], tf.uint8)]
    graph = tf.function(lambda pixels: model(pixels, training=False), input_signature=signature)
    return in_batches(lambda pixels: graph(tf.constant(pixels)).numpy(), fixed)


def _runner(run: Callable[[Any], Any], model: str) -> Run:
    import tensorflow as tf

    def with_arrays(images: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(run(tf.constant(images)))
        except tf.errors.ResourceExhaustedError:
            raise
        except (tf.errors.OpError, ValueError) as error:
            raise KdistillError(f"{model} cannot be run: {first_line(error)}") from error

    return with_arrays


def _named(outputs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (innermost key or "", tensor) of a structure of dictionaries, lists and tuples, in a fixed order."""
    if isinstance(outputs, Mapping):
        for key in outputs:
            yield from _named(outputs[key], str(key))
    elif isinstance(outputs, list | tuple):
        for item in outputs:
            yield from _named(item, name)
    else:
        yield name, outputs
