"""A model behind the Open Inference Protocol (KServe v2): its server tells names, shapes and types, and the batch.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol; Triton, MLServer, OpenVINO Model
Server and KServe speak it.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.image_model import Choice, ImageInput
from kdistill.runtimes.inputs import Tensor, image_tensor, read_image_input
from kdistill.runtimes.outputs import is_told, pick_output, pooling_of
from kdistill.teachers.services.forms.answers import decoded
from kdistill.teachers.services.forms.form import KSERVE_BASE64, Form, read_form
from kdistill.teachers.services.photos import Files
from kdistill.teachers.services.pixels import Pixels
from kdistill.teachers.services.service import header_of
from kdistill.teachers.services.transport.client import RETRIES, HttpClient
from kdistill.teachers.services.transport.pace import Pace
from kdistill.teachers.services.vectors import Shows, VectorService
from kdistill.teachers.teacher import NotAsked

_TYPES = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool"} | {
    f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)
}
_ANSWER_ROOM, _DIGITS = 1 << 20, 26
"""Bytes of an answer beside its numbers, and of one number."""


class KserveTeacher(VectorService):
    """Asks a model by what its server says of it."""

    def __init__(
        self,
        url: str,
        form: Form,
        *,
        scaling: str = "auto",
        output: str | None = None,
        pooling: str = "auto",
        image_size: int | None = None,
        headers: Sequence[str] = (),
        timeout: float = 60.0,
        retries: int = RETRIES,
        requests_per_minute: float | None = None,
        sleep: Any = None,
    ) -> None:
        """Reads the model's metadata, which is no question, and asks nothing.

        Args:
            url: .../v2/models/NAME or .../v2/models/NAME/versions/V, with or without /infer.
            form: `kserve`, `kserve_base64` or one like them; where it takes pixels and the model takes texts of bytes,
                `kserve_base64` takes its place.
            scaling, output, pooling, image_size: as of a model's file (see `open_teacher`).
            headers, timeout, retries, requests_per_minute, sleep: see `Service`.

        Raises:
            ArgumentError, KdistillError: as `open_model_teacher`, or metadata that cannot be right.
            NotAsked: the server cannot be reached, or does not know the model.
        """
        url, question, query = url.partition("?")
        url = re.sub(r"(/infer)?/*$", "", url.partition("#")[0]) + question + query
        pace = Pace(requests_per_minute, sleep=sleep)
        named = dict(header_of(spec, form) for spec in headers)
        label = f"the teacher {url.partition('?')[0]}"
        asking: dict[str, Any] = {"headers": named, "timeout": timeout, "retries": retries, "pace": pace}
        model = _Model(decoded(HttpClient(url, **asking).get()), label)
        taken = image_tensor(label, model.inputs)
        if len(model.inputs) > 1:
            others = ", ".join(tensor.name for tensor in model.inputs if tensor is not taken)
            raise KdistillError(f"{label} wants {others} besides the image; serve the image encoder alone")
        chosen = pick_output(list(model.outputs), label, output)
        self._lengths, limit, first = list(taken.shape), None, False
        shows: Shows
        if model.datatypes[taken.name] == "BYTES":
            if form.takes_pixels:
                form = read_form(KSERVE_BASE64)
            shows = Files(form.photos)
        else:
            source, self._lengths = _pixel_input(label, taken, scaling, image_size)
            limit, first = 1 if len(taken.shape) == 3 else source.batch, source.channels_first
            shows = Pixels(source, scaling, label)
        kind = _pooling_kind(model.outputs[chosen], pooling, label, chosen, first)
        super().__init__(
            url,
            form,
            shows=shows,
            pooling=pooling,
            channels_first=first,
            choice=[*([chosen] if is_told(chosen, list(model.outputs)) else []), *kind],
            common={"input": taken.name, "output": chosen, "datatype": model.datatypes[taken.name]},
            headers=headers,
            timeout=timeout,
            retries=retries,
            pace=pace,
            sleep=sleep,
        )
        if model.versions and "/versions/" not in self.name:
            # A server takes the newest version: with another one the answers are another teacher's.
            self.name += f" version {','.join(model.versions)}"
        self._batched = len(taken.shape) != 3
        limits = [
            self.largest_batch,
            limit,
            _triton_batch(HttpClient(url, path="/config", **asking)),
            _room(form, model.outputs[chosen]),
        ]
        self.largest_batch = min((most for most in limits if most), default=None)
        self._output_name = chosen

    def _shape(self, count: int) -> list[int]:
        further = self._lengths[1:] if self._batched else self._lengths
        fixed = [length if isinstance(length, int) and length > 0 else 1 for length in further]
        return [count, *fixed] if self._batched else fixed

    def _paths(self) -> dict[str, str]:
        return {part: path.replace("{output}", self._output_name) for part, path in self._form.answer.items()}


class _Model:
    """What the metadata say.

    Attributes:
        inputs: of the model.
        datatypes: of its inputs, as the protocol calls them.
        outputs: name -> shape.
        versions: that the server has.
    """

    def __init__(self, metadata: Any, label: str) -> None:
        try:
            self.inputs = [
                Tensor(str(one["name"]), list(one["shape"]), _TYPES.get(one["datatype"], one["datatype"]))
                for one in metadata["inputs"]
            ]
            self.datatypes = {str(one["name"]): str(one["datatype"]) for one in metadata["inputs"]}
            self.outputs: Mapping[str, list[Any]] = {
                str(one["name"]): list(one["shape"]) for one in metadata["outputs"]
            }
            self.versions = [str(version) for version in metadata.get("versions") or []]
        except (KeyError, TypeError, AttributeError) as error:
            said = json.dumps(metadata)[:200]
            raise KdistillError(f"{label} does not tell inputs and outputs as KServe v2 does: {said}") from error
        if not self.inputs or not self.outputs:
            raise KdistillError(
                f"{label} tells no inputs or no outputs of its model; MLServer takes them from model-settings.json "
                '("inputs", "outputs")'
            )


def _pixel_input(label: str, taken: Tensor, scaling: str, image_size: int | None) -> tuple[ImageInput, list[int]]:
    """Returns what the model takes and the shape of one request's tensor (its first length is the batch, if any)."""
    shape = list(taken.shape)
    whole = [None, *shape] if len(shape) == 3 else shape
    stated = None
    if scaling.lower().endswith(".json"):
        from kdistill.teachers.providers.preprocessing import stated_recipe

        stated = stated_recipe(scaling, None)
    side = stated[0].side if stated else image_size
    source = read_image_input(label, whole, taken.dtype, name=taken.name, side=side, channels_first=True)
    if image_size not in (None, source.side):
        raise ArgumentError(
            f"{label} takes images of side {source.side}, so --teacher_image_size={image_size} does not fit; "
            "leave it out"
        )
    if source.batch not in (None, 1):
        raise KdistillError(f"{label} takes exactly {source.batch} images at once; serve it with an open batch, or 1")
    square = [3, source.side, source.side] if source.channels_first else [source.side, source.side, 3]
    return source, square if len(shape) == 3 else [1, *square]


def _pooling_kind(shape: Sequence[Any], pooling: str, label: str, output: str, channels_first: bool) -> list[str]:
    """Returns how an output of this shape is pooled, for the view; checks it where the shape is known."""
    Choice(output, pooling)
    lengths = [length for length in shape if isinstance(length, int) and length >= 1]
    if len(shape) < 2 or len(lengths) < len(shape) - 1:
        return [] if pooling == "auto" else [pooling]
    how = pooling_of([1, *lengths[-(len(shape) - 1) :]], pooling, label, output, channels_first=channels_first)
    return [how.kind] if how else []


def _triton_batch(client: HttpClient) -> int | None:
    """Returns the most images that Triton takes at once, by an extension of its own; None where nothing is said."""
    with contextlib.suppress(KdistillError, NotAsked):
        configuration = decoded(client.get())
        most = configuration.get("max_batch_size") if isinstance(configuration, dict) else None
        return most if isinstance(most, int) and most > 0 else None
    return None


def _room(form: Form, shape: Sequence[Any]) -> int | None:
    """Returns how many images' answers of this shape fit into what is read, at least 1; None where nobody knows."""
    lengths = [length for length in shape[1:] if isinstance(length, int) and length >= 1]
    if len(lengths) < len(shape) - 1 or not lengths:
        return None
    numbers = 1
    for length in lengths:
        numbers *= length
    return max(1, ((form.most_answer_mebibytes << 20) - _ANSWER_ROOM) // (numbers * _DIGITS))
