"""What `benchmarks.assistant` shows: figures with their spread, and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.assistant.plan import DEFAULT, ITSELF, PARTS, Run, Sizes, wanted
from benchmarks.methods.plan import METHODS

Values = dict[int, float]
"""seed -> mAP in points."""


def points(runs: Sequence[Run], maps: Mapping[Run, float]) -> Values:
    """Returns the finished ones of runs that differ in their seed alone."""
    return {run.seed: 100 * maps[run] for run in runs if run in maps}


def put(figures: dict[str, float], name: str, values: Sequence[float]) -> None:
    """Adds the mean, and the standard deviation (n - 1) where there are two values or more."""
    if values:
        figures[name] = round(float(np.mean(values)), 3)
    if len(values) > 1:
        figures[f"{name}_std"] = round(float(np.std(values, ddof=1)), 3)


def differences(ours: Values, theirs: Values) -> list[float]:
    """Returns ours less theirs, seed by seed."""
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def text_of(values: Values) -> str:
    """Returns "mean ± deviation (seeds)"."""
    if not values:
        return "–"
    found = list(values.values())
    spread = f" ± {np.std(found, ddof=1):.1f}" if len(found) > 1 else ""
    return f"{np.mean(found):.1f}{spread} ({len(found)})"


def table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Values]]) -> str:
    """Returns a Markdown table of values by row and column."""
    lines = [title, "", f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | {' | '.join(text_of(cell) for cell in cells)} |" for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def named(run: Run) -> str:
    """Returns what stands in a table for a student, or for the assistant itself."""
    return "the assistant itself" if run.method == ITSELF else METHODS[run.method].title


def figures_of(maps: Mapping[Run, float], teachers: Mapping[str, float], sizes: Sizes) -> dict[str, float]:
    """Returns the figures of what is finished.

    Args:
        maps: of finished runs.
        teachers: problem -> the teacher's own mAP.
        sizes: of the plan.
    """
    figures: dict[str, float] = {}
    done = {part: [run for group in wanted(part, maps, sizes) for run in group] for part in PARTS}

    def of(part: str, **fields: Any) -> Values:
        return points([run for run in done[part] if _is(run, **fields)], maps)

    untaught = of("untaught", method=DEFAULT)
    put(figures, "untaught_map", list(untaught.values()))
    for budget in sizes.budgets:
        ours = of("headline", method=DEFAULT, budget=budget)
        put(figures, f"assistant_map_{budget}", list(ours.values()))
        itself = of("headline", method=ITSELF, budget=budget)
        put(figures, f"assistant_itself_{budget}", list(itself.values()))
        put(figures, f"gain_over_untaught_{budget}", differences(ours, untaught))
        short = of("rivals", method=DEFAULT, budget=budget, judged_on="test")
        rivals = {name: of("rivals", method=name, budget=budget, judged_on="test") for name in sizes.rivals}
        finished = {name: values for name, values in rivals.items() if len(values) == sizes.seeds}
        if finished:
            strongest = max(finished, key=lambda name: sum(finished[name].values()))
            put(figures, f"gain_over_best_rival_{budget}", differences(short, finished[strongest]))
        labels = of("labels", method=DEFAULT, budget=budget)
        put(figures, f"gain_over_labels_{budget}", differences(short, labels))
    for budget in sizes.mixing_budgets:
        mixed, unmixed = (
            of("mixing", assistant=kind, budget=budget, judged_on="test") for kind in ("mixed", "unmixed")
        )
        put(figures, f"mixing_gain_{budget}", differences(mixed, unmixed))
    large, lite2 = of("large", method=DEFAULT), of("lite2", method=DEFAULT)
    put(figures, "grocery_map", list(large.values()))
    put(figures, "lite2_map", list(lite2.values()))
    if "lite2" in teachers:
        put(figures, "lite2_share", [value / teachers["lite2"] for value in lite2.values()])
    for name, value in teachers.items():
        figures[f"teacher_{name}"] = round(100 * value, 3)
    return figures


def tables_of(maps: Mapping[Run, float], sizes: Sizes) -> str:
    """Returns the tables of what is finished."""
    texts = []
    columns = [f"{budget} questions" for budget in sizes.budgets]
    for part, title in (
        ("headline", "The student behind the assistant, 96 pixels, 1,200 steps"),
        ("rivals", "Every method behind the same assistants, 96 pixels, 300 steps, nine trials each"),
        (
            "labels",
            "The same network taught by labels of the same images, and the default student behind it, 300 steps",
        ),
        ("mixing", "The assistant itself, with and without mixtures in its own training"),
    ):
        runs = [run for group in wanted(part, maps, sizes) for run in group if run.judged_on == "test"]
        rows: dict[str, list[Values]] = {}
        for run in runs:
            name = f"{named(run)}, {run.assistant}" if part == "mixing" else named(run)
            if name not in rows:
                same = [other for other in runs if (other.method, other.assistant) == (run.method, run.assistant)]
                rows[name] = [
                    points([other for other in same if other.budget == budget], maps) for budget in sizes.budgets
                ]
        texts.append(table(title, columns, rows))
    rows = {}
    for part, title in (
        ("untaught", "behind the untaught assistant, 96 pixels"),
        ("large", "330 questions, student at 128 pixels"),
        ("lite2", "teacher_lite2, 330 questions, student at 128 pixels"),
    ):
        runs = [run for group in wanted(part, maps, sizes) for run in group]
        rows[f"{title}: the assistant itself"] = [points([run for run in runs if run.method == ITSELF], maps)]
        rows[f"{title}: the student"] = [points([run for run in runs if run.method == DEFAULT], maps)]
    texts.append(table("Further rows", ["mAP"], rows))
    return "\n".join(texts)


def _is(run: Run, **fields: Any) -> bool:
    return all(getattr(run, name) == value for name, value in fields.items())
