"""What a network costs: multiply-adds and parameters, now and with fewer channels."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras

from kdistill.compression.paths import ChannelPath, is_normalised
from kdistill.layers.compactor import Compactor


def count_flops(model: keras.Model) -> int:
    """Returns the multiply-adds of one image, each counted once, as the pruning papers count "FLOPs".

    Convolutions: H_out W_out k_h k_w (C_in / groups) C_out. Depthwise: H_out W_out k_h k_w C. Dense: C_in C_out.
    Biases, normalisations, activations and pooling are not counted.
    """
    return sum(_positions(layer) * _taps(layer) * _pairs(layer) for layer in model.layers)


@dataclasses.dataclass(frozen=True)
class Term:
    """One product: `factor` times the number of channels of each path in `paths`."""

    factor: int
    paths: tuple[str, ...]


class CostModel:
    """The cost of a student as a function of how many channels each path keeps.

    Exact for what `merge` returns: a producer's normalisation becomes its bias, and a reader behind a normalisation
    gets a bias.
    """

    def __init__(self, student: keras.Model, paths: Sequence[ChannelPath], unit: str) -> None:
        """Derives the terms.

        Args:
            student: without compactors.
            paths: of the student.
            unit: "flops" (multiply-adds of an image) or "params" (all weights, moving statistics included).
        """
        self.terms = _flops(student, paths) if unit == "flops" else _params(student, paths)

    def total(self, kept: Mapping[str, int]) -> int:
        """Returns the cost when the path of each producer keeps that many channels."""
        return sum(self._value(term, kept) for term in self.terms)

    def saving(self, kept: Mapping[str, int], producer: str) -> int:
        """Returns what one channel less in the path of `producer` saves."""
        # Every term is linear in one path's channels.
        return sum(self._value(term, kept) // kept[producer] for term in self.terms if producer in term.paths)

    @staticmethod
    def _value(term: Term, kept: Mapping[str, int]) -> int:
        value = term.factor
        for producer in term.paths:
            value *= kept[producer]
        return value


def _flops(student: keras.Model, paths: Sequence[ChannelPath]) -> list[Term]:
    made, read, passed = _roles(paths)
    terms = []
    for layer in student.layers:
        if not _pairs(layer):
            continue
        factor = _positions(layer) * _taps(layer)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            names, factor = _shared(passed.get(layer.name), factor, _pairs(layer))
        else:
            names, factor = _product(layer, made, read, factor)
        terms.append(Term(factor, names))
    return terms


def _params(student: keras.Model, paths: Sequence[ChannelPath]) -> list[Term]:
    made, read, passed = _roles(paths)
    norms = {path.norm for path in paths}
    biased = {path.consumer for path in paths if is_normalised(student, path)}
    terms = []
    for layer in student.layers:
        if layer.name in norms:
            continue
        if layer.name in passed:
            # Whatever weights it has come once a channel, but for the one exponent of GeM.
            each, rest = divmod(layer.count_params(), layer.output.shape[-1])
            terms += [Term(each, (passed[layer.name],)), Term(rest, ())]
        elif _pairs(layer) and not isinstance(layer, keras.layers.DepthwiseConv2D):
            names, factor = _product(layer, made, read, _taps(layer))
            terms.append(Term(factor, names))
            if layer.use_bias or layer.name in biased or layer.name in made:
                names, factor = _shared(made.get(layer.name), 1, layer.output.shape[-1])
                terms.append(Term(factor, names))
        else:
            terms.append(Term(layer.count_params(), ()))
    return terms


def _roles(paths: Sequence[ChannelPath]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Returns layer name -> path, for layers that make, read and pass on a path's channels."""
    made = {path.producer: path.producer for path in paths}
    read = {path.consumer: path.producer for path in paths}
    passed = {name: path.producer for path in paths for name in path.followers}
    return made, read, passed


def _shared(path: str | None, factor: int, channels: int) -> tuple[tuple[str, ...], int]:
    return ((), factor * channels) if path is None else ((path,), factor)


def _product(
    layer: keras.layers.Layer, made: dict[str, str], read: dict[str, str], factor: int
) -> tuple[tuple[str, ...], int]:
    names: tuple[str, ...] = ()
    for path, channels in (
        (read.get(layer.name), layer.input.shape[-1] // getattr(layer, "groups", 1)),
        (made.get(layer.name), layer.output.shape[-1]),
    ):
        more, factor = _shared(path, factor, channels)
        names += more
    return names, factor


def _positions(layer: keras.layers.Layer) -> int:
    shape: tuple[int, ...] = tuple(layer.output.shape) if _pairs(layer) else ()
    return int(shape[1] * shape[2]) if len(shape) == 4 else 1


def _taps(layer: keras.layers.Layer) -> int:
    size = getattr(layer, "kernel_size", (1, 1))
    return int(size[0] * size[1])


def _pairs(layer: keras.layers.Layer) -> int:
    """Returns C_in / groups * C_out, or C for a depthwise convolution; 0 for layers that do not multiply."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return int(layer.output.shape[-1])
    if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense | Compactor):
        return int(layer.input.shape[-1] // getattr(layer, "groups", 1) * layer.output.shape[-1])
    return 0
