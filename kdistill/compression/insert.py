"""Compactors go into a student that starts large."""

from collections.abc import Sequence

import keras

from kdistill.compression.graph import copy_of, rebuild
from kdistill.compression.paths import ChannelPath, channel_paths
from kdistill.errors import ArgumentError
from kdistill.layers.compactor import Compactor


def insert_compactors(student: keras.Model) -> keras.Model:
    """Returns a copy of the student with a compactor behind the normalisation of every path; it computes the same.

    Args:
        student: Functional, of `students.build`.

    Raises:
        ArgumentError: no channel of this student can be cut.
    """
    paths = channel_paths(student)
    if not paths:
        raise ArgumentError(f"{student.name} has no convolution whose channels only one layer reads; none can be cut")
    chains = {}
    for path in paths:
        norm = student.get_layer(path.norm)
        compactor = Compactor(name=compactor_name(path))
        chains[path.norm] = [(copy_of(norm), norm.get_weights()), (compactor, None)]
    return rebuild(student, chains)


def compactors(student: keras.Model, paths: Sequence[ChannelPath]) -> dict[str, Compactor]:
    """Returns the compactors of a student by the producers of their paths."""
    return {path.producer: student.get_layer(compactor_name(path)) for path in paths}


def compactor_name(path: ChannelPath) -> str:
    """Returns the name of the compactor of a path."""
    return f"{path.producer}_compactor"
