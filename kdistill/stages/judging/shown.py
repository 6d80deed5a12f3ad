"""What the report shows of the neighbours: a random dozen of queries, and where student and teacher disagree most."""

from typing import Any

import numpy as np

from kdistill.evaluation.held_out import DEPTH
from kdistill.evaluation.neighbours import nearest_neighbours
from kdistill.stages.judging.held_out import HeldOutJudge
from kdistill.stages.judging.judge import NEIGHBOURS_SHOWN, Judge, Vectors

QUERIES_SHOWN = 12
ODD_SHOWN = 6
_ODD = 3.0
"""Robust deviations below the median at which a photo's likeness to its nearest one is called odd."""


def shown_neighbours(
    judge: Judge, student: Vectors, teacher: Vectors | None, held_out: HeldOutJudge | None, seed: int
) -> dict[str, Any]:
    """Returns what `neighbours.json` holds.

    `marks` says what a hit's `right` means: "labels" (it is of the query's class), or "teacher" (both models found it).
    `queries` are random ones, `worst` those of the least overlap with the teacher: a list of objects with `query`,
    `label`, `overlap` (or None), and `columns`, hits by the model's name. `odd` names queries that are like nothing
    else to the teacher: objects with `query` and `nearest`, the cosine to their nearest one.
    """
    compared = _compared(judge, student, teacher, held_out)
    if not judge.data.labelled:
        if compared is None:
            return {"marks": "teacher", "queries": [], "worst": [], "odd": []}
        chosen = _random(len(compared.ids), seed)
        return {"marks": "teacher", **compared.parts(chosen)}
    images = judge.data.gallery if judge.data.queries is None else judge.data.queries
    chosen = _random(len(images), seed)
    columns = {"teacher": teacher, "student": student}
    found = {name: judge.neighbours(vectors, chosen) for name, vectors in columns.items() if vectors is not None}
    queries = [
        {
            "query": images.ids[position],
            "label": found["student"][row]["label"],
            "overlap": None,
            "columns": {name: answers[row]["found"] for name, answers in found.items()},
        }
        for row, position in enumerate(chosen)
    ]
    rest = {"worst": [], "odd": []} if compared is None else compared.parts(np.zeros(0, np.int64))
    return {**rest, "marks": "labels", "queries": queries}


class _Compared:
    """Both models' neighbours for the same queries in the same gallery."""

    def __init__(
        self,
        ids: tuple[str, ...],
        gallery_ids: tuple[str, ...],
        teacher: tuple[np.ndarray, np.ndarray],
        student: tuple[np.ndarray, np.ndarray],
        exclude: np.ndarray | None,
    ) -> None:
        self.ids, self._gallery_ids = ids, gallery_ids
        depth = min(DEPTH, max(1, (len(gallery_ids) - 1) // 4))
        self._found = {
            name: nearest_neighbours(*pair, max(depth, NEIGHBOURS_SHOWN), exclude=exclude)
            for name, pair in (("teacher", teacher), ("student", student))
        }
        self._first = {name: indices[:, :depth] for name, (_, indices) in self._found.items()}
        shared = self._first["teacher"][:, :, None] == self._first["student"][:, None, :]
        self.overlap = shared.any(axis=2).mean(axis=1)

    def parts(self, chosen: np.ndarray) -> dict[str, Any]:
        worst = np.argsort(self.overlap, kind="stable")[:QUERIES_SHOWN]
        return {
            "queries": [self._query(int(position)) for position in chosen],
            "worst": [self._query(int(position)) for position in worst],
            "odd": self._odd(),
        }

    def _query(self, position: int) -> dict[str, Any]:
        columns = {}
        for name, other in (("teacher", "student"), ("student", "teacher")):
            scores, indices = (rows[position][:NEIGHBOURS_SHOWN] for rows in self._found[name])
            agreed = set(self._first[other][position].tolist())
            columns[name] = [
                {"id": self._gallery_ids[index], "score": float(score), "right": int(index) in agreed}
                for score, index in zip(scores, indices, strict=True)
            ]
        overlap = float(self.overlap[position])
        return {"query": self.ids[position], "label": "", "overlap": overlap, "columns": columns}

    def _odd(self) -> list[dict[str, Any]]:
        nearest = self._found["teacher"][0][:, 0]
        middle = np.median(nearest)
        spread = 1.4826 * np.median(np.abs(nearest - middle))
        order = np.argsort(nearest, kind="stable")[:ODD_SHOWN]
        return [
            {"query": self.ids[position], "nearest": float(nearest[position])}
            for position in order
            if nearest[position] < middle - _ODD * max(spread, 1e-6)
        ]


def _compared(
    judge: Judge, student: Vectors, teacher: Vectors | None, held_out: HeldOutJudge | None
) -> _Compared | None:
    """Returns the comparison in the whole gallery where the teacher's vectors are known, else among held-out photos."""
    data = judge.data
    if teacher is not None:
        ids = data.gallery.ids if data.queries is None else data.queries.ids
        chosen = np.arange(len(ids)) if judge.searching is None else judge.searching
        theirs, ours = (
            ((one.gallery if one.queries is None else one.queries)[chosen], one.gallery) for one in (teacher, student)
        )
        ids = tuple(ids[position] for position in chosen)
        return _Compared(ids, data.gallery.ids, theirs, ours, chosen if data.queries is None else None)
    if held_out is None:
        return None
    ids = tuple(data.gallery.ids[position] for position in held_out.positions)
    rows = asking = student.gallery[held_out.positions]
    if data.queries is None and student.queries is not None:
        asking = student.queries[held_out.positions]
    return _Compared(ids, ids, (held_out.answers, held_out.answers), (asking, rows), np.arange(len(ids)))


def _random(count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(count, min(QUERIES_SHOWN, count), replace=False))
