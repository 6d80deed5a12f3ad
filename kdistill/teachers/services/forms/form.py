"""A form: what a service is sent, and where its answer stands; read from a JSON file and checked."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import read_bounded
from kdistill.teachers.services.forms.fields import CHECKS, QUESTIONS, check_fields
from kdistill.teachers.services.forms.template import EACH, FLAT, marks_in, names_in

AUTO, OWN, KSERVE, KSERVE_BASE64 = "auto", "kdistill", "kserve", "kserve_base64"

FILES = Path(__file__).parent
"""Where the shipped forms lie, NAME.json."""

PIXEL_NAMES = ("pixels", "numbers")
FILE_NAMES = ("base64", "data_uri", "mime", "format", "bytes")
_SERVER_NAMES = ("input", "output", "datatype")
_KSERVE_ADDRESS = re.compile(r"https?://[^?#]*/v2/models/[^/?#]+(/versions/[^/?#]+)?(/infer)?/?")
_MAX_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Photos:
    """What files of photos a service takes: all where nothing is said.

    Attributes:
        formats: of jpeg, png, webp, gif, bmp, tiff; empty for any.
        most_bytes: of one file; most_side: of its longer edge in pixels; most_pixels: of both edges' product.
    """

    formats: tuple[str, ...] = ()
    most_bytes: int | None = None
    most_side: int | None = None
    most_pixels: int | None = None


@dataclasses.dataclass(frozen=True)
class Key:
    """The header that takes the key.

    Attributes:
        header: its name.
        scheme: the word before a bare key, such as Bearer; "" for none.
        required: whether the service cannot be asked without one.
    """

    header: str = "Authorization"
    scheme: str = "Bearer"
    required: bool = False


@dataclasses.dataclass(frozen=True)
class Form:
    """See docs/services.md.

    Attributes:
        name: of a shipped form, or the path of its file.
        asks: one of QUESTIONS.
        request: the body's template.
        answer: name -> path (or rule) of each part of the answer.
        path: what is appended to the address.
        images: the most in one request; None for any number.
        photos, key: see there.
        least_wait: seconds before a service that had enough is asked again, where it does not say how long.
        most_answer_mebibytes: a longer answer is cut off and refused.
        about: where the service describes it.
    """

    name: str
    asks: str
    request: Any
    answer: Mapping[str, str]
    path: str = ""
    images: int | None = None
    photos: Photos = Photos()
    key: Key = Key()
    least_wait: float = 0.0
    most_answer_mebibytes: int = 16
    about: str = ""

    @property
    def names(self) -> set[str]:
        """The names in its templates."""
        return names_in(self.request) | names_in(list(self.answer.values()))

    @property
    def takes_pixels(self) -> bool:
        """Whether photos go as numbers of the model's own size, not as files."""
        return bool({name.rpartition(".")[2] for name in self.names} & set(PIXEL_NAMES))

    @property
    def reads_server(self) -> bool:
        """Whether names in it are those that a KServe server tells of its model."""
        return bool(self.names & set(_SERVER_NAMES))

    @property
    def digest(self) -> str:
        """A hash (12 hex digits) of all that decides an answer."""
        decisive = [self.asks, self.path, self.request, dict(self.answer)]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]


def shipped() -> list[str]:
    """Returns the names of the forms that come with the library."""
    return sorted(path.stem for path in FILES.glob("*.json"))


def form_name(api: str, address: str) -> str:
    """Returns the name that "auto" stands for at an address; any other as it is."""
    if api != AUTO:
        return api
    return KSERVE if _KSERVE_ADDRESS.fullmatch(address) else OWN


def form_text(api: str) -> str:
    """Returns the JSON of a form as it stands.

    Raises:
        ArgumentError: an unknown name.
        KdistillError: the file is missing or unreadable.
    """
    if not api.lower().endswith(".json"):
        if api not in shipped():
            known = ", ".join(shipped())
            raise ArgumentError(f"there is no form {api!r}; known: {known}, or the path of a JSON file")
        return (FILES / f"{api}.json").read_text(encoding="utf-8")
    try:
        return read_bounded(api, _MAX_BYTES).decode()
    except UnicodeDecodeError as error:
        raise KdistillError(f"the form {api} is no UTF-8 text") from error


def read_form(api: str, address: str = "") -> Form:
    """Returns a form.

    Args:
        api: a shipped form's name, the path of a JSON file, or "auto" for what the address shows.
        address: of the service.

    Raises:
        ArgumentError: an unknown name, or a form that is no JSON or cannot be right.
        KdistillError: the file is missing.
    """
    name = form_name(api, address)
    try:
        fields = json.loads(form_text(name))
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"the form {name} is no JSON: {error}") from error
    check_fields(name, fields)
    parts = {key: value for key, value in fields.items() if key in CHECKS}
    parts["photos"] = Photos(**{key: _frozen(value) for key, value in fields.get("photos", {}).items()})
    parts["key"] = Key(**fields.get("key", {}))
    form = Form(**({"name": name, "asks": "vectors"} | parts))
    _check_template(form)
    return form


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_template(form: Form) -> None:
    marks = marks_in(form.request)
    if "mark!" in marks:
        raise ArgumentError(f'the form {form.name}: {{"{EACH}": ...}} and {{"{FLAT}": ...}} are entries of lists')
    known = known_names(form)
    unknown = sorted(form.names - known)
    if unknown:
        raise ArgumentError(f"the form {form.name} has the name {{{unknown[0]}}}; known: {', '.join(sorted(known))}")
    own = {*PIXEL_NAMES, *FILE_NAMES}
    if "bytes" in form.names and form.request != "{bytes}":
        raise ArgumentError(
            f'the form {form.name}: the bytes of a file are no JSON, so "{{bytes}}" is all of "request"'
        )
    unmarked = not marks or bool(names_in(form.request, each=False) & own)
    if form.asks == "vectors" and form.images != 1 and unmarked:
        raise ArgumentError(
            f'the form {form.name}: what repeats for each image stands as {{"{EACH}": ...}} in a list of '
            '"request"; a service that takes one image has "images": 1'
        )
    if not {name.rpartition(".")[2] for name in form.names} & own:
        raise ArgumentError(f'the form {form.name}: no image stands in "request"; known: {", ".join(sorted(own))}')
    if form.asks == "order" and marks != [EACH]:
        raise ArgumentError(f'the form {form.name}: the candidates of an order stand as one {{"{EACH}": ...}}')


def known_names(form: Form) -> set[str]:
    """Returns the names that may stand in a form's templates."""
    common = {"model", "count", "shape", *_SERVER_NAMES}
    if form.asks == "vectors":
        return common | {*PIXEL_NAMES, *FILE_NAMES}
    roles = ("query",) if form.asks == "order" else ("query", "first", "second")
    files = [name for name in FILE_NAMES if name != "bytes"]
    named = {f"{role}.{name}" for role in roles for name in files}
    return {"model", *named, *(files if form.asks == "order" else [])}


__all__ = ["QUESTIONS", "Form", "Key", "Photos", "form_name", "form_text", "read_form", "shipped"]
