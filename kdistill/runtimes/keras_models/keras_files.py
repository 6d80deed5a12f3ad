"""Opens Keras model files from outside without running code that they bring along."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from kdistill.errors import KdistillError, first_line
from kdistill.files.archives import ALWAYS_ACCEPTED_BYTES, MAX_RATIO, check_archive
from kdistill.files.whole import read_bounded
from kdistill.runtimes.keras_models.keras_packages import check_packages, refuse_code, trusted_classes

_MAX_CONFIG_BYTES = 16 << 20


def load_keras_file(path: Path | str, trusted: Sequence[str] = ()) -> Any:
    """Returns the model (keras.Model, not compiled) of a `.keras` file of Keras's and this library's own layers.

    Args:
        path: the file.
        trusted: names of further packages whose classes it may be made of; they are imported where it names them.

    Raises:
        KdistillError: missing, damaged, a bomb, or with code of its own (Lambda layers, classes of other modules),
            which is not run.
        ArgumentError: `trusted` holds what is no package that could be trusted.
    """
    check_packages(trusted)
    config = check_keras_file(path, trusted)
    import keras

    import kdistill.layers  # noqa: F401 (registers the layers of saved students)

    classes = trusted_classes(path, config, trusted)
    try:
        return keras.models.load_model(path, custom_objects=classes, compile=False, safe_mode=True)
    # The loader raises many kinds of errors on a damaged file; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"{path} cannot be loaded: {first_line(error)}") from error


def check_keras_file(path: Path | str, trusted: Sequence[str] = ()) -> Any:
    """Returns the configuration in a `.keras` archive; nothing of it is built or imported.

    Keras's `safe_mode` alone lets a file name classes of any module, which are imported.

    Raises:
        KdistillError: no such archive, absurd sizes, or code of its own or of packages that are not `trusted`.
    """
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo("config.json")
            if entry.file_size > _MAX_CONFIG_BYTES:
                raise KdistillError(f"{path} has a configuration of {entry.file_size:,} bytes")
            config = json.loads(archive.read(entry))
            weights = [archive.read(name) for name in archive.namelist() if name.endswith(".h5")]
    except KdistillError:
        raise
    # Damaged archives and texts raise many kinds of errors, absurdly nested ones a RecursionError.
    except Exception as error:
        raise KdistillError(f"{path} is not a Keras model file: {first_line(error)}") from error
    refuse_code(path, config, trusted)
    for content in weights:
        _check_h5(path, content)
    return config


def check_weights_file(path: Path | str) -> None:
    """Raises KdistillError unless a file is an `.h5` file whose arrays lie inside it and have no absurd sizes."""
    _check_h5(path, read_bounded(path, 8 << 30))


def _check_h5(path: Path | str, content: bytes) -> None:
    sizes: list[int] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise KdistillError(f"{path} keeps the array {name!r} in another file, which is not opened")
            sizes.append(item.size * item.dtype.itemsize)

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _refuse_links(path, file)
            file.visititems(visit)
    except KdistillError:
        raise
    except Exception as error:
        raise KdistillError(f"{path} holds weights that cannot be read: {first_line(error)}") from error
    if sum(sizes) > max(ALWAYS_ACCEPTED_BYTES, MAX_RATIO * len(content)):
        raise KdistillError(f"{path} holds weights of {sum(sizes):,} bytes in {len(content):,}")


def _refuse_links(path: Path | str, group: h5py.Group) -> None:
    groups: list[h5py.Group] = [group]
    seen: set[int] = set()
    while groups:
        current = groups.pop()
        # A group may stand in itself.
        address = h5py.h5o.get_info(current.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in current:
            kind = current.get(name, getlink=True)
            if not isinstance(kind, h5py.HardLink):
                raise KdistillError(f"{path} holds the link {name!r} to elsewhere, which is not followed")
            item = current[name]
            if isinstance(item, h5py.Group):
                groups.append(item)
