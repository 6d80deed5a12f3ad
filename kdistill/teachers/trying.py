"""`python -m kdistill.teachers try SPEC photo.jpg`: one question, the first thing that a user does with a teacher."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.data.images import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings.groups.teacher import TeacherSettings
from kdistill.settings.setting import check_value, values_of
from kdistill.teachers.asking import ask
from kdistill.teachers.compound import CompoundQuestion
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.opening import open_teacher
from kdistill.teachers.teacher import NoAnswer

TRYING = "trying"
"""The account that pays for it."""

_OPTIONS = {
    "teacher_scaling": "scaling",
    "teacher_output": "output",
    "teacher_pooling": "pooling",
    "teacher_image_size": "image_size",
    "teacher_api": "api",
    "teacher_model": "model",
    "teacher_headers": "headers",
    "teacher_timeout": "timeout",
    "teacher_retries": "retries",
    "trust_packages": "trust_packages",
}
"""Setting -> argument of `open_teacher`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `try` takes: the same --teacher_... as a run, by the same rules."""
    parser.add_argument("teacher", help="what --teacher names: a file, a function or an address")
    parser.add_argument(
        "photos",
        nargs="+",
        type=Path,
        help="a photo; of a service that compares: the query, then the photos to compare with it",
    )
    parser.add_argument("--yes", action="store_true", help="ask without a further question; it may cost money")
    parser.add_argument("--ledger", help="keeps the answer: the ledger of the run to come")
    parser.add_argument("--price_per_query", type=float, default=0.0, help="what one answer costs")
    for field in dataclasses.fields(TeacherSettings):
        if field.name in _OPTIONS:
            taken = values_of(TeacherSettings, field.name)
            kind: Callable[[str], Any] = _listed if taken.kind is tuple else taken.kind
            about = str(field.metadata["help"]).replace("%", "%%")
            parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=about)


def try_teacher(options: argparse.Namespace, confirm: Callable[[str], str] = input) -> int:
    """Asks one question and prints what came of it; returns the exit status.

    Args:
        options: as `add_arguments` describes them.
        confirm: asks the user (tests pass their own).

    Raises:
        ArgumentError: options that cannot be right, or no consent.
        KdistillError: a photo that cannot be read, or the teacher fails.
    """
    teacher = _open(options)
    images = [Image(str(path), path=path) for path in options.photos]
    for image in images:
        image.pixels()
    question = _question(teacher, images)
    shown = teacher.shown_request(images) if hasattr(teacher, "shown_request") else ""
    print(f"teacher   {teacher.name}\nview      {teacher.view}")
    if shown:
        print(f"\n{shown}\n")
    if not getattr(teacher, "repeatable", False):
        _consent(options, confirm)
    began = time.monotonic()
    answer, paid = _asked(teacher, question, options)
    seconds = time.monotonic() - began
    _print_answer(teacher, np.asarray(answer, np.float64).reshape(-1), seconds, paid, options)
    return 0


def _open(options: argparse.Namespace) -> Any:
    for field in dataclasses.fields(TeacherSettings):
        if field.name in _OPTIONS:
            check_value(TeacherSettings, field, getattr(options, field.name))
    if not options.price_per_query >= 0:
        raise ArgumentError(f"--price_per_query must be at least 0; {options.price_per_query} was given")
    return open_teacher(options.teacher, **{argument: getattr(options, name) for name, argument in _OPTIONS.items()})


def _question(teacher: Any, images: Sequence[Image]) -> Image:
    if hasattr(teacher, "embed"):
        if len(images) > 1:
            raise ArgumentError(f"the teacher {teacher.name!r} embeds; give one photo, not {len(images)}")
        return images[0]
    fits = len(images) == 3 if hasattr(teacher, "prefer") else len(images) >= 3
    if not fits:
        takes = "two photos" if hasattr(teacher, "prefer") else "two photos or more"
        raise ArgumentError(f"the teacher {teacher.name!r} compares; give a query and {takes} to compare with it")
    return CompoundQuestion.of(images[0], images[1:], {})


def _consent(options: argparse.Namespace, confirm: Callable[[str], str]) -> None:
    if options.yes:
        return
    if confirm is input and not sys.stdin.isatty():
        raise ArgumentError("nothing was asked: it may cost money; give --yes")
    price = f" at {options.price_per_query:g}" if options.price_per_query else ", which may cost money"
    if confirm(f"ask one question{price}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ArgumentError("nothing was asked")


def _asked(teacher: Any, question: Image, options: argparse.Namespace) -> tuple[np.ndarray, bool]:
    """Returns the answer, and whether it was asked for now; through the ledger where one is named."""
    asker = teacher if not isinstance(question, CompoundQuestion) else _comparing(teacher, question)
    if options.ledger is None:
        try:
            return asker.embed([question])[0], True
        except NoAnswer as error:
            raise KdistillError(f"{error}; it may have been charged") from error
    with Ledger(options.ledger) as ledger:
        answers = ask(
            asker,
            ImageSet([question]),
            [0],
            ledger,
            budget=None,
            batch_size=1,
            strict=True,
            price_per_query=options.price_per_query,
            account=TRYING,
        )
    return answers.embeddings[0], answers.spent > 0


def _comparing(teacher: Any, question: CompoundQuestion) -> Any:
    # Only here: these rooms know the one of teachers.
    from kdistill.preferences.orders import comparing_orders
    from kdistill.preferences.pairs import comparing_preferences

    if hasattr(teacher, "prefer"):
        return comparing_preferences(teacher)
    return comparing_orders(teacher, len(question.candidates))


def _print_answer(teacher: Any, answer: np.ndarray, seconds: float, paid: bool, options: argparse.Namespace) -> None:
    if not np.isfinite(answer).all():
        raise KdistillError(f"the teacher {teacher.name!r} answered, but with nothing that can be used; it was charged")
    if hasattr(teacher, "embed"):
        lines = {
            "dimension": str(len(answer)),
            "norm": f"{np.linalg.norm(answer):.6g}",
            "begins": ", ".join(f"{number:.5g}" for number in answer[:4]),
        }
    elif hasattr(teacher, "prefer"):
        lines = {"first": f"{answer[0]:g} (the probability that the first photo is nearer)"}
    else:
        names = [str(path) for path in options.photos[1:]]
        lines = {"order": ", ".join(names[int(place)] for place in answer)}
    lines["time"] = f"{seconds:.2f} s"
    lines["cost"] = f"{options.price_per_query:g}" if paid else "nothing: the ledger had the answer"
    if options.ledger is not None:
        lines["kept in"] = options.ledger
    print("\n".join(f"{name:10}{value}" for name, value in lines.items()))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))
