"""Paths: where in an answer's JSON something stands, such as `data[].embedding` or `outputs[name=embedding].data`.

Names are joined by dots; `[]` is each entry of a list, `[0]` one by its place, `[name=N]` the one whose `name` is N.
The empty path is the whole answer.
"""

import re
from typing import Any

from kdistill.teachers.teacher import BadAnswer

_SEGMENT = re.compile(r"\.?([^.\[\]]+)|\[(\d*)\]|\[([^\[\]=]+)=([^\[\]]*)\]")


class _Missing(BadAnswer):
    """Nothing stands at a path."""


def fault_of(path: Any) -> str:
    """Returns what is wrong with a path, "" where nothing is."""
    if not isinstance(path, str):
        return "is no text"
    if "".join(found[0] for found in _SEGMENT.finditer(path)) != path or path.startswith("."):
        return "is no path such as data[].embedding"
    return "has more than one []" if path.count("[]") > 1 else ""


def goes_through_list(path: str) -> bool:
    """Says whether a path stands for one thing an image, not for one alone."""
    return "[]" in path


def found_at(answer: Any, path: str) -> Any:
    """Returns what stands at a path: a list where it goes through `[]`, in which null stands for what is not there.

    Raises:
        BadAnswer: nothing stands there.
    """
    value, walked = answer, ""
    segments = list(_SEGMENT.finditer(path))
    for place, segment in enumerate(segments):
        if segment[2] == "":
            if not isinstance(value, list):
                raise BadAnswer(f"the teacher's answer has no list {_quoted(walked)}")
            return _in_each(value, segments[place + 1 :])
        value = _step(value, segment)
        walked += segment[0]
        if value is None:
            listed = place + 1 < len(segments) and segments[place + 1][2] == ""
            raise _Missing(f"the teacher's answer has {'no list' if listed else 'nothing at'} {_quoted(walked)}")
    return value


def optional_at(answer: Any, path: str | None) -> Any:
    """Returns what stands at a path, None where there is no path or nothing.

    Raises:
        BadAnswer: something else than a list stands where one should be.
    """
    if path is None:
        return None
    try:
        return found_at(answer, path)
    except _Missing:
        return None


def _in_each(entries: list[Any], segments: list[re.Match[str]]) -> list[Any]:
    """Returns what stands in each entry behind the only `[]` of a path; there may be millions of entries."""
    found = list(entries)
    for segment in segments:
        found = [None if entry is None else _step(entry, segment) for entry in found]
    return found


def _step(value: Any, segment: re.Match[str]) -> Any:
    name, place, key, wanted = segment.groups()
    if name is not None:
        return value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return None
    if place is not None:
        return value[int(place)] if int(place) < len(value) else None
    return next((entry for entry in value if isinstance(entry, dict) and str(entry.get(key)) == wanted), None)


def _quoted(walked: str) -> str:
    return f'"{walked}"' if walked else "as a whole"
