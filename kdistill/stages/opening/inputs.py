"""What stages read from outside the work folder, as digests: from these a run knows whether a result is still of it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.data import ImageSet, RetrievalData
from kdistill.data.identity import changes, identities
from kdistill.data.layouts.folder import find_images
from kdistill.errors import KdistillError
from kdistill.files.whole import read_json_object, sha256_of, write_json
from kdistill.runtimes.digest import model_digest
from kdistill.settings import Settings
from kdistill.settings.effects import chooses, is_compared, teacher_kind, without_effect
from kdistill.settings.held_out_checks import held_out_count
from kdistill.stages.backbone import backbone_digest
from kdistill.stages.opening.sources import data_of
from kdistill.teachers.providers.beside import configurations

_FOLDER = "record"  # in the work folder


class Inputs:
    """The digests of what a run's settings name, each found when it is first asked for; TensorFlow is not needed."""

    def __init__(self, settings: Settings, workdir: Path, *, keep: bool = True) -> None:
        """Takes the settings and the work folder.

        Args:
            settings: of the run.
            workdir: its folder.
            keep: whether digests are kept there; not in a dry run.
        """
        self.settings = settings
        self._folder = workdir / _FOLDER
        self._keep = keep
        self._data: RetrievalData | None = None
        self._found: dict[str, str] = {}

    @property
    def data(self) -> RetrievalData:
        """The run's images."""
        if self._data is None:
            self._data = data_of(self.settings)
        return self._data

    def forget_images(self) -> None:
        """Lets go of the lists of images, a kilobyte for each; they are read again when they are asked for."""
        self._data = None

    def digest(self, name: str) -> str:
        """Returns the digest (hex) of an input, one of INPUTS, or "" where the settings name none of it.

        Raises:
            ArgumentError, KdistillError: what the settings name is not there.
        """
        if name not in self._found:
            self._found[name] = INPUTS[name](self)
        return self._found[name]

    def difference(self, name: str, then: str) -> str:
        """Says in half a sentence how an input differs from what it was when its digest was `then`."""
        what = f"the {name}" if name not in _IMAGES else f"the images of the {name}"
        if name in _IMAGES:
            file = self._folder / f"{then}.json"
            before, images = read_json_object(file), _IMAGES[name](self)
            if before and images is not None:
                found = changes(before, self._identities(images))
                return f"{what} changed: {found}" if found else f"the labels of the {name} changed"
        return f"{what} changed"

    def of_images(self, images: ImageSet | None, *extra: Any) -> str:
        """Returns the digest of images with their labels and of `extra`, and keeps what it was made of."""
        if images is None:
            return ""
        content = self._identities(images)
        digest = hashlib.sha256(json.dumps(content).encode())
        if images.labels is not None:
            digest.update(json.dumps(np.asarray(images.labels).tolist()).encode())
        digest.update(repr(extra).encode())
        found = digest.hexdigest()[:16]
        if self._keep and not (self._folder / f"{found}.json").exists():
            write_json(self._folder / f"{found}.json", content)
        return found

    def _identities(self, images: ImageSet) -> dict[str, str]:
        return identities(images, identity_cache(self._folder.parent) if self._keep else None)


def identity_cache(workdir: Path) -> Path:
    """Returns the file of a work folder that keeps digests of images, so that each file is read once."""
    return workdir / _FOLDER / "files.json"


def content_of(path: Path) -> str:
    """Returns a digest (hex) of a file of weights.

    Raises:
        KdistillError: missing or unreadable.
    """
    try:
        return sha256_of(path)[:16]
    except OSError as error:
        raise KdistillError(f"{path} cannot be read: {error.strerror or error}") from error


def _gallery(inputs: Inputs) -> str:
    truth = inputs.data.truth
    parts = [] if truth is None else [[row.tolist() for row in rows] for rows in (truth.easy, truth.hard, truth.junk)]
    return inputs.of_images(inputs.data.gallery, *parts)


def _whitening(inputs: Inputs) -> str:
    evaluation = inputs.settings.evaluation
    if evaluation.whiten == "none":
        return ""
    if evaluation.whiten_dir is not None:
        limit = inputs.settings.data.max_megapixels
        images = find_images(evaluation.whiten_dir, labelled=evaluation.whiten == "learned", max_megapixels=limit)
        return inputs.of_images(images)
    return inputs.digest("validation" if evaluation.whiten == "learned" else "pool")


def _weights(inputs: Inputs) -> str:
    return _network(inputs.settings, "student_weights", inputs.settings.student.backbone)


def _choosing_weights(inputs: Inputs) -> str:
    chooser = chooses(inputs.settings)
    if chooser == "assistant":
        return inputs.digest("assistant")
    return "" if chooser is None else inputs.digest("weights")


def _assistant(inputs: Inputs) -> str:
    return _network(inputs.settings, "assistant_weights", inputs.settings.assistant.assistant_backbone or "")


def _network(settings: Settings, weights: str, backbone: str) -> str:
    """Returns what tells a network from another: the file that it starts from, and what the user brings."""
    given = "" if weights in without_effect(settings) else settings.value(weights) or ""
    file = json.dumps({given: content_of(Path(given))}) if given.endswith((".h5", ".keras")) else ""
    return "-".join(filter(None, [file, backbone_digest(backbone)]))


def _files_of(settings: Settings, names: Sequence[str]) -> str:
    """Returns the digests of the JSON files that these settings name and that have an effect; "" for none."""
    idle = without_effect(settings)
    files = [settings.value(name) for name in names if name not in idle]
    found = [content_of(Path(file)) for file in files if file.lower().endswith(".json")]
    return "-".join(found)


def _teacher(inputs: Inputs) -> str:
    teacher, scaling = inputs.settings.teacher.teacher, inputs.settings.teacher.teacher_scaling
    kind = teacher_kind(teacher)
    if kind == "service":
        return _files_of(inputs.settings, ("teacher_api", "teacher_scaling"))
    if kind not in ("backbone", "table", "model") or teacher == "imagenet":
        return ""
    files = configurations(Path(teacher), scaling) if kind == "model" else []
    return hashlib.sha256("".join([model_digest(teacher), *map(content_of, files)]).encode()).hexdigest()[:16]


def _gallery_vectors(inputs: Inputs) -> str:
    table = inputs.settings.space.gallery_vectors
    if table is None or "gallery_vectors" in without_effect(inputs.settings):
        return ""
    return model_digest(table)


_IMAGES: Mapping[str, Callable[[Inputs], ImageSet | None]] = {
    "pool": lambda inputs: inputs.data.pool,
    "gallery": lambda inputs: inputs.data.gallery,
    "queries": lambda inputs: inputs.data.queries,
    "validation": lambda inputs: inputs.data.validation,
}


def _judges(inputs: Inputs) -> str:
    data = inputs.data
    if not held_out_count(inputs.settings, len(data.gallery), data.labelled):
        return ""
    return inputs.of_images(data.gallery.without_labels())


INPUTS: Mapping[str, Callable[[Inputs], str]] = {
    "pool": lambda inputs: inputs.of_images(inputs.data.pool),
    "gallery": _gallery,
    "queries": lambda inputs: inputs.of_images(inputs.data.queries),
    "validation": lambda inputs: inputs.of_images(inputs.data.validation),
    "photos that can judge": _judges,
    "images for whitening": _whitening,
    "weights": _weights,
    "assistant": _assistant,
    "weights of what it is compared with": lambda inputs: (
        inputs.digest("weights") if is_compared(inputs.settings) else ""
    ),
    "weights of what chooses": _choosing_weights,
    "teacher": _teacher,
    "gallery vectors": _gallery_vectors,
}
"""Name -> how its digest is found; the names stand in the registry of stages and in what users are told."""
