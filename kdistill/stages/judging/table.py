"""The table of an evaluation: its rows, each judged by labels and by held-out answers, and how it is printed."""

from collections.abc import Mapping
from typing import Any

from kdistill.evaluation.held_out import HeldOutAgreement
from kdistill.stages.judging.held_out import HeldOutJudge
from kdistill.stages.judging.judge import Judge, Vectors


class Table:
    """The rows of the table, each judged by labels and by held-out answers, as far as there are any."""

    def __init__(
        self, judge: Judge, held_out: HeldOutJudge | None, teacher: Vectors | None, queries: int, seed: int
    ) -> None:
        """Takes who judges, the teacher's vectors where they are known, its questions, and the seed of intervals."""
        self.rows: list[dict[str, Any]] = []
        self._judge, self._held_out, self._teacher = judge, held_out, teacher
        self._queries, self._seed = queries, seed

    def add(
        self, name: str, vectors: Vectors, parameters: int | None, *, is_teacher: bool = False, **other: Any
    ) -> HeldOutAgreement | None:
        """Adds a row and returns its agreement with held-out answers, of which the teacher itself has none."""
        agreement = None
        if self._held_out is not None and not is_teacher:
            agreement = self._held_out.agreement(vectors)
        figures = self._judge.figures(vectors, None if is_teacher else self._teacher)
        self._append(name, figures, agreement, parameters, int(vectors.gallery.shape[1]), other)
        return agreement

    def add_across(
        self,
        name: str,
        vectors: Vectors | None,
        parameters: int | None,
        dimension: int,
        agreement: HeldOutAgreement | None,
        **other: Any,
    ) -> None:
        """Adds a row of one model's queries in another one's gallery.

        Args:
            name: of the row.
            vectors: gallery and queries; None where the gallery's are not known.
            parameters: of the model that searches.
            dimension: of both.
            agreement: with held-out answers, where there are any.
            **other: further entries.
        """
        figures = {} if vectors is None else self._judge.figures(vectors, self._teacher)
        self._append(name, figures, agreement, parameters, dimension, other)

    def _append(
        self,
        name: str,
        figures: Mapping[str, float],
        agreement: HeldOutAgreement | None,
        parameters: int | None,
        dimension: int,
        other: Mapping[str, Any],
    ) -> None:
        row: dict[str, Any] = {"name": name, **figures}
        if agreement is not None:
            row |= agreement.as_dict(self._seed)
        about = {"queries": self._queries, "parameters": parameters, "dimension": dimension}
        self.rows.append({**row, **about, **other})


def as_text(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as text for a terminal."""
    columns = {"map": "mAP", "recall_at_1": "recall@1", "map_at_r": "mAP@R", "overlap_at_10": "overlap@10"}
    columns = {name: title for name, title in columns.items() if any(name in row for row in rows)}
    width = max(len(row["name"]) for row in rows) + 2
    lines = [" " * width + "".join(f"{title:>12}" for title in (*columns.values(), "queries", "parameters"))]
    for row in rows:
        cells = [f"{row[name]:>12.3f}" if name in row else f"{'–':>12}" for name in columns]
        cells += [
            f"{'–' if row.get(name) is None else format(row[name], ',d'):>12}" for name in ("queries", "parameters")
        ]
        lines.append(f"{row['name']:<{width}}" + "".join(cells))
    return "\n".join(lines)
