"""From a service's answer to rows of numbers: counts are checked, and each row is known to be of its image."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdistill.errors import KdistillError
from kdistill.runtimes.outputs import as_vectors, pick_output, pooling_of
from kdistill.teachers.counted import counted
from kdistill.teachers.services.forms.paths import found_at, goes_through_list, optional_at
from kdistill.teachers.teacher import BadAnswer, NoAnswer


def decoded(answer: bytes) -> Any:
    """Returns the answer's JSON.

    Raises:
        BadAnswer: it is none.
    """
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the teacher's answer is not JSON: {error}") from error


def check_error(parsed: Any, path: str | None) -> None:
    """Raises NoAnswer where an answer says by itself, at a path, that it is none: nobody knows what was charged."""
    said = optional_at(parsed, path)
    if said:
        raise NoAnswer(f"the teacher answered with an error: {str(said)[:300]}")


def read_rows(
    parsed: Any,
    parts: Mapping[str, str],
    count: int,
    *,
    width: int | None = None,
    output: str | None = None,
    batched: bool = True,
) -> np.ndarray:
    """Returns float64 [count, ...], one row a question in their order.

    Args:
        parsed: the answer's JSON.
        parts: its paths, by name: `vectors`, and perhaps `index` and `shape`.
        count: how many questions were asked.
        width: numbers in each row where that is known: a row of another length is NaN, so that the others can be kept.
        output: name of the output that counts where rows are objects of several; None for the first that is known.
        batched: whether a `shape` begins with the number of questions; a model may take one image and no batch.

    Raises:
        BadAnswer: not what the paths say, or a number of rows of which nobody can tell whose they are.
        NoAnswer: fewer rows than questions, and an index that tells whose they are.
    """
    if "shape" in parts:
        return _shaped(found_at(parsed, parts["vectors"]), found_at(parsed, parts["shape"]), count, batched)
    found = _chosen(found_at(parsed, parts["vectors"]), output)
    entries = found if goes_through_list(parts["vectors"]) else [found]
    index = read_index(parsed, parts, len(entries), count)
    if width is not None:
        entries = [_row(entry, width) for entry in entries]
    rows = _numbers(entries)
    if len(entries) < count:
        fault = f"the teacher answered {len(entries)} of {counted(count, 'question')}"
        raise NoAnswer(fault, rows=index, embeddings=rows.reshape(len(rows), -1))
    return rows[np.argsort(index)]


def read_index(parsed: Any, parts: Mapping[str, str], entries: int, count: int) -> list[int]:
    """Returns the question of each entry, 0 to count - 1, each at most once.

    Raises:
        BadAnswer: an index that is none of that, or none where there are more or fewer entries than questions.
    """
    index = optional_at(parsed, parts.get("index"))
    if index is None or (index and all(place is None for place in index)):
        if entries != count:
            raise BadAnswer(
                f"the teacher answered {counted(count, 'question')} with {entries} {_word(parts)} and no "
                '"index" that tells whose'
            )
        return list(range(count))
    if (
        len(index) != entries
        or not all(type(place) is int and 0 <= place < count for place in index)
        or len(set(index)) != len(index)
    ):
        raise BadAnswer(f'the teacher\'s "index" must name the question of each entry once, 0 to {count - 1}')
    return index


def read_raw(answer: bytes, rows: int) -> np.ndarray:
    """Returns float32 [rows, Dt] of little-endian float32 bytes, row after row.

    Raises:
        BadAnswer: they are no such rows.
    """
    if not answer or len(answer) % (4 * rows):
        asked = counted(rows, "question")
        raise BadAnswer(f"the teacher answered {asked} with {len(answer)} bytes, not {counted(rows, 'row')} of float32")
    return np.frombuffer(answer, "<f4").reshape(rows, -1)


def as_rows(rows: np.ndarray, pooling: str, *, channels_first: bool = False) -> np.ndarray:
    """Returns [n, Dt]: vectors as they are, tokens and maps pooled as those of a model's file.

    Raises:
        BadAnswer: neither, or a pooling that does not suit.
    """
    if rows.ndim == 2 and pooling == "auto":
        return rows
    if rows.size == len(rows):
        raise BadAnswer("the teacher's embeddings are not lists of numbers")
    try:
        how = pooling_of(rows.shape, pooling, "the teacher's answer", "vectors", channels_first=channels_first)
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is found by the ledger
            return as_vectors(rows, "the teacher's answer", how)
    except KdistillError as error:
        raise BadAnswer(str(error)) from error


def read_choice(text: Any, rules: Mapping[str, str]) -> float:
    """Returns 1.0 for the first image, 0.0 for the second, 0.5 for neither, and NaN where no rule, or several, fit."""
    if not isinstance(text, str):
        return float("nan")
    values = {"first": 1.0, "second": 0.0, "tie": 0.5}
    fitting = [value for rule, value in values.items() if rule in rules and re.search(rules[rule], text)]
    return fitting[0] if len(fitting) == 1 else float("nan")


def _chosen(entries: Any, wanted: str | None) -> Any:
    """Returns entries in which objects of several outputs by name are replaced by the output that counts."""
    listed = entries if isinstance(entries, list) else [entries]
    named = [entry for entry in listed if isinstance(entry, dict)]
    if not named:
        return entries
    try:
        output = pick_output(list(named[0]), "the teacher's answer", wanted)
    except KdistillError as error:
        raise BadAnswer(str(error)) from error
    picked = [entry.get(output) if isinstance(entry, dict) else entry for entry in listed]
    return picked if isinstance(entries, list) else picked[0]


def _shaped(data: Any, shape: Any, count: int, batched: bool) -> np.ndarray:
    lengths = shape if isinstance(shape, list) else []
    if not lengths or not all(type(length) is int and length >= 1 for length in lengths):
        raise BadAnswer(f"the teacher's answer has the shape {str(shape)[:100]}, which is none")
    if not batched:
        lengths = [1, *lengths]
    if lengths[0] != count:
        raise BadAnswer(
            f"the teacher answered {counted(count, 'question')} with {counted(lengths[0], 'row')} (shape {lengths})"
        )
    flat = _numbers([data]).reshape(-1)
    if flat.size != int(np.prod(lengths, dtype=object)):
        raise BadAnswer(f"the teacher's answer has {flat.size} numbers, which do not fill its shape {lengths}")
    return flat.reshape(lengths)


def _word(parts: Mapping[str, str]) -> str:
    return re.split(r"[.\[]", parts["vectors"])[0] or "vectors"


def _row(entry: object, width: int) -> list[object]:
    row = entry if isinstance(entry, list) else [entry]
    whole = len(row) == width and all(isinstance(number, int | float) and type(number) is not bool for number in row)
    return row if whole else [float("nan")] * width


def _numbers(entries: Sequence[object]) -> np.ndarray:
    """Returns float64 [n, ...]; a null becomes a row of NaN, which the ledger records as a bad answer."""
    lengths = {len(entry) for entry in entries if isinstance(entry, list)}
    if len(lengths) != 1:
        if not entries:
            return np.zeros((0, 0))
        raise BadAnswer(f"the teacher's embeddings have {sorted(lengths) or 'no'} numbers, not all the same")
    blank = next(entry for entry in entries if isinstance(entry, list))
    try:
        empty = np.full(np.shape(blank), np.nan)
        rows = [empty if entry is None else np.asarray(entry) for entry in entries]
        vectors = np.stack(rows)
    except ValueError as error:
        raise BadAnswer("the teacher's embeddings are not lists of numbers") from error
    if any(row.dtype.kind not in "fiu" for row in rows) or vectors.ndim < 2:
        raise BadAnswer("the teacher's embeddings are not lists of numbers")
    return vectors.astype(np.float64)
