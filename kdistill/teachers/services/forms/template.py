"""Body templates: JSON in which names in braces are filled in, and two marks say what repeats for each image.

"{base64}"              a text that is one name alone becomes its value, whatever its type; within a longer text the
                        name becomes text
{"$each": ENTRY}        an entry of a list: stands once for each image, in their order
{"$flat": "{numbers}"}  an entry of a list: stands for all entries of the value, one image after the other
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

EACH, FLAT = "$each", "$flat"
_NAME = re.compile(r"\{([a-z0-9_.]+)\}")


def names_in(template: Any, *, each: bool | None = None) -> set[str]:
    """Returns the names that a template holds.

    Args:
        template: JSON.
        each: True for those under a mark alone, False for those outside of marks; None for all.
    """
    return {name for name, marked in _names(template, False) if each is None or each == marked}


def marks_in(template: Any) -> list[str]:
    """Returns the marks of a template, as often as they stand in lists; one outside of a list says `mark!`."""
    return list(_marks(template, in_list=False))


def filled(template: Any, common: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the JSON of one request.

    Args:
        template: JSON with names and marks, checked by `form.read_form`.
        common: values of names by themselves; where there is one image, its own are found as well.
        images: values of each image by name.
    """
    alone = images[0] if len(images) == 1 else {}

    def fill(part: Any, own: Mapping[str, Any]) -> Any:
        if isinstance(part, str):
            return _text(part, lambda name: own[name] if name in own else common[name])
        if isinstance(part, list):
            return [entry for item in part for entry in entries(item, own)]
        if isinstance(part, dict):
            return {key: fill(value, own) for key, value in part.items()}
        return part

    def entries(item: Any, own: Mapping[str, Any]) -> Iterator[Any]:
        mark = _mark(item)
        if mark is None:
            yield fill(item, own)
            return
        for image in images:
            value = fill(item[mark], image)
            yield from value if mark == FLAT else (value,)

    return fill(template, alone)


def _text(text: str, value: Any) -> Any:
    whole = _NAME.fullmatch(text)
    return value(whole[1]) if whole else _NAME.sub(lambda found: str(value(found[1])), text)


def _mark(part: Any) -> str | None:
    return next((mark for mark in (EACH, FLAT) if isinstance(part, dict) and set(part) == {mark}), None)


def _names(part: Any, marked: bool) -> Iterator[tuple[str, bool]]:
    if isinstance(part, str):
        yield from ((name, marked) for name in _NAME.findall(part))
    elif isinstance(part, list):
        for item in part:
            yield from _names(item, marked)
    elif isinstance(part, dict):
        inside = marked or _mark(part) is not None
        for value in part.values():
            yield from _names(value, inside)


def _marks(part: Any, *, in_list: bool) -> Iterator[str]:
    if isinstance(part, dict):
        mark = _mark(part)
        if mark is not None or EACH in part or FLAT in part:
            yield mark if mark is not None and in_list else "mark!"
        for value in part.values():
            yield from _marks(value, in_list=False)
    elif isinstance(part, list):
        for item in part:
            yield from _marks(item, in_list=True)
