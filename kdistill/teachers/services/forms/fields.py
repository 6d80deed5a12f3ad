"""What each field of a form may hold, and what of an answer each kind of question needs."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from kdistill.errors import ArgumentError
from kdistill.teachers.services.forms.paths import fault_of, goes_through_list

QUESTIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vectors": (("vectors",), ("index", "shape", "raw", "error")),
    "order": (("scores",), ("index", "error")),
    "preference": (("text", "first", "second"), ("tie", "error")),
}
"""What a form may ask for -> the parts of its answer that must be named, and those that may be."""

_RULES = ("first", "second", "tie")
_PHOTO_FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 600


def _formats(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(entry in _PHOTO_FORMATS for entry in value)


CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "about": (lambda value: isinstance(value, str), "a text"),
    "asks": (lambda value: value in QUESTIONS, f"one of {', '.join(QUESTIONS)}"),
    "request": (lambda value: isinstance(value, dict | list) or value == "{bytes}", 'an object, a list, or "{bytes}"'),
    "answer": (lambda value: isinstance(value, dict), "an object"),
    "path": (lambda value: _text(value) and value[:1] in ("", "/", ":"), "a text that begins with / or :"),
    "images": (lambda value: value is None or _count(value), "a whole number from 1, or null for any"),
    "photos": (lambda value: isinstance(value, dict), "an object"),
    "key": (lambda value: isinstance(value, dict), "an object"),
    "least_wait": (_seconds, "seconds, 0 to 600"),
    "most_answer_mebibytes": (lambda value: _count(value) and value <= 4096, "a whole number, 1 to 4096"),
}
"""Field -> (whether a value can be right, what it should be)."""

_PHOTOS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "formats": (_formats, f"a list of {', '.join(_PHOTO_FORMATS)}"),
    "most_bytes": (_count, "a whole number from 1"),
    "most_side": (_count, "a whole number from 1"),
    "most_pixels": (_count, "a whole number from 1"),
}
_KEY: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "header": (lambda value: isinstance(value, str) and bool(_HEADER.fullmatch(value)), "the name of a header"),
    "scheme": (lambda value: isinstance(value, str) and (not value or bool(_HEADER.fullmatch(value))), "one word"),
    "required": (lambda value: isinstance(value, bool), "true or false"),
}


def check_fields(form: str, fields: Any) -> None:
    """Checks the fields of the form of that name.

    Raises:
        ArgumentError: one is missing, unknown or cannot be right.
    """
    if not isinstance(fields, dict):
        raise ArgumentError(f"the form {form} is no JSON object")
    for name in ("request", "answer"):
        if name not in fields:
            raise ArgumentError(f'the form {form} has no "{name}"')
    _check(form, "", fields, CHECKS)
    _check(form, "photos.", fields.get("photos", {}), _PHOTOS)
    _check(form, "key.", fields.get("key", {}), _KEY)
    _check_answer(form, fields.get("asks", "vectors"), fields["answer"])


def _check(form: str, prefix: str, fields: dict[str, Any], checks: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name not in checks:
            raise ArgumentError(f'the form {form} has the field "{prefix}{name}"; known: {", ".join(checks)}')
        is_right, expected = checks[name]
        if not is_right(value):
            raise ArgumentError(f'the form {form}: "{prefix}{name}" is {str(value)[:100]!r}, expected {expected}')


def _check_answer(form: str, asks: str, answer: dict[str, Any]) -> None:
    needed, possible = QUESTIONS[asks]
    for name in needed:
        if name not in answer:
            raise ArgumentError(f'the form {form} asks for {asks}, so "answer" needs "{name}"')
    for name, value in answer.items():
        if name not in (*needed, *possible):
            listed = ", ".join((*needed, *possible))
            raise ArgumentError(f'the form {form}: "answer" has "{name}"; known for {asks}: {listed}')
        fault = _rule_fault(value) if name in _RULES else _raw_fault(value) if name == "raw" else fault_of(value)
        if fault:
            raise ArgumentError(f'the form {form}: "answer.{name}" {fault}')
    for name in ("index", "scores"):
        if name in answer and not goes_through_list(answer[name]):
            raise ArgumentError(f'the form {form}: "answer.{name}" needs [], since there is one for each image')
    if "index" in answer and not goes_through_list(answer.get("vectors", "[]")):
        raise ArgumentError(f'the form {form}: "answer.index" needs "answer.vectors" with []')


def _rule_fault(value: Any) -> str:
    try:
        re.compile(value)
    except (re.error, TypeError) as error:
        return f"is no regular expression: {error}"
    return ""


def _raw_fault(value: Any) -> str:
    return "" if value == "float32" else 'must be "float32", what application/octet-stream holds'
