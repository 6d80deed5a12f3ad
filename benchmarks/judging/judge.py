"""Trains a student and judges it twice: by the labels of the test images, and by the teacher's held-out answers."""

import dataclasses
from typing import Any

import keras
import numpy as np

from benchmarks.judging.cases import Case
from benchmarks.methods.data import Part, Problem
from benchmarks.methods.train import train
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.evaluation.held_out import held_out_agreement
from kdistill.training.fit import pause_steps

HELD_OUT = 100
"""Photos of the validation images, which no student sees; their labels are not used."""

SHARED_DRAWS = 20
"""Somebody who compares settings holds the same photos out for all: so often they are drawn here, for all students."""

ON_THE_WAY = 8


def judged(problem: Problem, case: Case) -> dict[str, Any]:
    """Trains a student and judges it.

    Returns:
        `map` (labels of the test); `overlap_at_10` and its companions for HELD_OUT photos of a draw of its own, as
        separate runs have them; `shared_overlaps` [SHARED_DRAWS], for the draws that all students of a problem share;
        `way`, `map` and the own overlap at steps of the training.
    """
    keras.backend.clear_session()
    validation = problem.validation
    held_out = _part(validation, _draw(len(validation.labels), case.run.seed))
    problem = dataclasses.replace(problem, settings=problem.settings.changed(steps=case.steps))
    watch = _OnTheWay(problem.test, held_out, case.steps) if case.watched else None
    student = train(problem, case.run, None if watch is None else watch.of)
    return {
        **_both(student, problem.test, held_out),
        "shared_overlaps": _shared_overlaps(student, validation),
        "way": [] if watch is None else watch.found,
    }


def _draw(count: int, *seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)[:HELD_OUT]


def _part(part: Part, rows: np.ndarray) -> Part:
    return Part(*(getattr(part, field.name)[rows] for field in dataclasses.fields(Part)))


def _shared_overlaps(student: keras.Model, validation: Part) -> list[float]:
    embedded = np.asarray(student.predict(validation.pixels, batch_size=64, verbose=0))
    if not np.isfinite(embedded).all():
        return [float("nan")] * SHARED_DRAWS
    draws = [_draw(len(embedded), 20, number) for number in range(SHARED_DRAWS)]
    return [float(held_out_agreement(embedded[rows], validation.teacher[rows]).overlap.mean()) for rows in draws]


class _OnTheWay(keras.callbacks.Callback):
    """Judges the student at evenly spread steps."""

    def __init__(self, test: Part, held_out: Part, steps: int) -> None:
        super().__init__()
        self.found: list[dict[str, float]] = []
        self._test, self._held_out = test, held_out
        self._steps = frozenset(pause_steps(steps, ON_THE_WAY))

    def of(self, student: keras.Model) -> "_OnTheWay":
        self._student = student
        return self

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if batch + 1 in self._steps:
            figures = _both(self._student, self._test, self._held_out)
            self.found.append({"step": batch + 1, "map": figures["map"], "overlap_at_10": figures["overlap_at_10"]})


def _both(student: keras.Model, test: Part, held_out: Part) -> dict[str, float]:
    embedded = [np.asarray(student.predict(part.pixels, batch_size=64, verbose=0)) for part in (test, held_out)]
    if not all(np.isfinite(rows).all() for rows in embedded):
        return {"map": float("nan"), "overlap_at_10": float("nan")}
    quality = evaluate_leave_one_out(embedded[0], test.labels).map
    return {"map": quality, **held_out_agreement(embedded[1], held_out.teacher).as_dict()}
