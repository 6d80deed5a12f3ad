"""Runs Keras models and TensorFlow SavedModels, each as one compiled graph whose outputs are known by name."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.console.quiet import quiet
from kdistill.errors import KdistillError, first_line
from kdistill.runtimes.image_model import (
    Choice,
    ImageInput,
    ImageModel,
    Run,
    finished,
    in_batches,
)
from kdistill.runtimes.inputs import Tensor, further_inputs, image_tensor, read_image_input, says_all
from kdistill.runtimes.keras_models.keras_config import scales_itself
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.runtimes.outputs import is_told, pick_output
from kdistill.runtimes.signatures import choose_signature

_USUAL = ("serving_default", "default", "image_feature_vector")
"""Signatures that are taken where several are there: TensorFlow's own name, and those of the older hub modules."""

_TOGETHER = 1
"""TensorFlow's matrix products give the last rows of a batch to other kernels, how many depends on the processor; a
batch of one costs a quarter more for ResNet50 and EfficientNet-Lite0 on two cores, small networks up to three times."""

_IMAGES_A_CALL = 32


def start_tensorflow(num_threads: int) -> None:
    """Imports TensorFlow with this many threads; first of all that a process does with it."""
    with quiet():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def open_keras_file(path: Path | str, model: str, choice: Choice = Choice()) -> ImageModel:  # noqa: B008 (frozen)
    """Opens a `.keras` file as `open_keras_model` does; `model` is its name in errors."""
    return open_keras_model(load_keras_file(path, choice.trusted), model, choice)


def open_keras_model(network: Any, model: str, choice: Choice = Choice()) -> ImageModel:  # noqa: B008 (frozen)
    """Returns a built keras.Model with one image input, ready to run.

    Outputs in a dictionary, list or tuple are known by their key, or by the name of the layer that gives them.

    Raises:
        KdistillError: other inputs, or outputs among which none is named so.
        ArgumentError: a choice that the model does not offer.
    """
    import tensorflow as tf

    inputs = getattr(network, "inputs", None)
    if not inputs:
        raise KdistillError(f"{model} is not built, so its input is not known; wrap it in a function")
    if len(inputs) != 1:
        raise KdistillError(f"{model} must have one input, it has {len(inputs)} inputs; wrap it in a function")
    dtype = tf.as_dtype(inputs[0].dtype)
    tensor = Tensor(inputs[0].name, list(inputs[0].shape), dtype.as_numpy_dtype)
    source = read_image_input(model, tensor.shape, tensor.dtype, name=tensor.name, side=choice.side)
    signature = [tf.TensorSpec([source.batch, *inputs[0].shape[1:]], dtype)]
    # A model whose inputs were given as a dictionary warns of anything else.
    named = isinstance(getattr(network, "input", None), Mapping)
    key = next(iter(network.input)) if named else ""
    graph = tf.function(
        lambda images: network({key: images} if named else images, training=False), input_signature=signature
    )
    outputs = [*_named(graph.get_concrete_function().structured_outputs)]
    names = [name for name, _ in outputs]
    layers = list(getattr(network, "output_names", ()))
    if len(layers) == len(names) and not any(names):
        names = layers
    name = pick_output(names, model, choice.output)
    chosen = names.index(name)
    return finished(
        _runner(lambda images: [*_named(graph(images))][chosen][1], model),
        source,
        model,
        choice,
        name,
        told=is_told(name, names),
        rank=outputs[chosen][1].shape.rank,
        certain=says_all(tensor),
        parameters=int(network.count_params()),
        scales_itself=scales_itself(network),
        together=_TOGETHER,
    )


def open_saved_model(path: Path | str, model: str, choice: Choice = Choice()) -> ImageModel:  # noqa: B008 (frozen)
    """Opens a SavedModel folder by one of its signatures; `model` is its name in errors.

    The image input takes numbers, or encoded images (text [n], the bytes of their files).

    Raises:
        KdistillError: damaged, without a signature that is known, or with other inputs.
        ArgumentError: a choice that it does not offer.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signatures = {key: tuple(one.structured_outputs) for key, one in loaded.signatures.items()}
    # The loader raises many kinds of errors on a damaged folder; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"{path} cannot be loaded as a SavedModel: {first_line(error)}") from error
    key, wanted, signature = choose_signature(signatures, choice.output, _USUAL)
    if key is None:
        known = f"its signatures are {', '.join(signatures)}" if signatures else "it has no signature"
        raise KdistillError(
            f"{path} cannot be loaded as a SavedModel: it has no signature serving_default, {known}; "
            "name one with --teacher_output=SIGNATURE: or wrap the model in a function"
        )
    arguments = loaded.signatures[key].structured_input_signature[1]
    outputs = loaded.signatures[key].structured_outputs
    tensors = [_tensor(name, spec) for name, spec in arguments.items()]
    texts = [tensor for tensor in tensors if tensor.dtype == object and len(tensor.shape) == 1]
    if len(tensors) == len(texts) == 1:
        tensor = texts[0]
        batch = tensor.shape[0]
        source = ImageInput(0, np.dtype(object), batch, encoded=True)
    else:
        tensor = image_tensor(model, tensors)
        source = read_image_input(model, tensor.shape, tensor.dtype, name=tensor.name, side=choice.side)
    others = [other for other in tensors if other is not tensor]
    further = further_inputs(model, others, source.side)
    output = pick_output(sorted(outputs), model, wanted)

    def run(images: Any) -> Any:
        fed = {name: tf.constant(value) for name, value in further(len(images)).items()}
        # Named here, so that the loaded object, which owns the variables, lives as long as the function.
        return loaded.signatures[key](**{tensor.name: images}, **fed)[output]

    return finished(
        _runner(run, model),
        source,
        model,
        choice,
        f"{signature}{output}",
        told=is_told(output, list(outputs), signature),
        rank=outputs[output].shape.rank,
        certain=not others and (source.encoded or says_all(tensor)),
        together=_TOGETHER,
    )


def _tensor(name: str, spec: Any) -> Tensor:
    shape = [] if spec.shape.rank is None else spec.shape.as_list()
    return Tensor(name, shape, spec.dtype.as_numpy_dtype)


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


def embeddings_of(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Returns float32 [n, D] of a Keras model, or of its `as_function`, for uint8 [n, H, W, 3], 32 a call.

    `predict` gives the same to the last bit, copies all images twice, and waits at its end (see `map_in_order`). Blocks
    of a multiple of 32 images give what the whole would.
    """
    run = as_function(model)
    return np.concatenate(
        [run(pixels[first : first + _IMAGES_A_CALL]) for first in range(0, len(pixels), _IMAGES_A_CALL)]
    )


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
