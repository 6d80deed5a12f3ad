"""What `benchmarks.asymmetric` shows: figures with their spread, and tables."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.assistant.report import Values, differences, put, table
from benchmarks.asymmetric.plan import METHODS, RIVALS, SEARCHES, Run, Sizes


def values(maps: Mapping[Run, float], **about: object) -> Values:
    """Returns seed -> mAP in points of the finished test runs with these fields and the method's own settings."""
    wanted = {"judged_on": "test", "teacher": "expert", "assistant": 0, "table": 0, "dimension": 0, **about}
    return {
        run.seed: 100 * value
        for run, value in maps.items()
        if all(getattr(run, name) == given for name, given in wanted.items())
    }


def best_rival(maps: Mapping[Run, float], budget: int, assistant: int) -> tuple[str, Values]:
    """Returns the rival with the highest mean at a budget and its values; "" where none is finished."""
    found = {
        name: values(maps, method=name, budget=budget, search="asymmetric", assistant=assistant) for name in RIVALS
    }
    done = {name: scores for name, scores in found.items() if scores}
    if not done:
        return "", {}
    name = max(done, key=lambda one: sum(done[one].values()) / len(done[one]))
    return name, done[name]


def figures_of(maps: Mapping[Run, float], sizes: Sizes) -> dict[str, float]:
    """Returns the figures of what is finished, in points of mAP; `..._std` over seeds beside.

    `asymmetric_map_N` is that behind an assistant where one was asked for, since there is one to be had at no question;
    with an answer for every image it is that without. `gain_over_best_rival_N` is against the best rival with the same
    images, answers and assistant, seed by seed.
    """
    figures: dict[str, float] = {}
    for budget in sizes.budgets:
        for search in SEARCHES:
            for assistant in (0, 1):
                found = values(maps, method="across", budget=budget, search=search, assistant=assistant)
                put(figures, f"{search}_map_{budget}_{'assisted' if assistant else 'alone'}", list(found.values()))
        assisted = values(maps, method="across", budget=budget, search="asymmetric", assistant=1)
        ours = assisted or values(maps, method="across", budget=budget, search="asymmetric")
        put(figures, f"asymmetric_map_{budget}", list(ours.values()))
        _, theirs = best_rival(maps, budget, int(bool(assisted)))
        put(figures, f"gain_over_best_rival_{budget}", differences(ours, theirs))
        own = values(maps, method="own", budget=budget, search="symmetric")
        put(figures, f"own_space_map_{budget}", list(own.values()))
        with_table = values(maps, method="across", budget=budget, search="asymmetric", table=1)
        alone = values(maps, method="across", budget=budget, search="asymmetric")
        put(figures, f"gain_of_known_gallery_{budget}", differences(with_table, alone))
    budget, dimension = sizes.projected
    whole, cut = (
        values(maps, method="across", budget=budget, search="asymmetric", teacher="pooled", dimension=kept)
        for kept in (0, dimension)
    )
    put(figures, "projected_loss", differences(whole, cut))
    for budget in sizes.compared:
        found = values(maps, method="across", budget=budget, search="asymmetric", teacher="lite2")
        put(figures, f"lite2_asymmetric_map_{budget}", list(found.values()))
    return figures


def tables_of(maps: Mapping[Run, float], sizes: Sizes) -> str:
    """Returns Markdown: every method by budget, with and without an assistant, and the curve of both spaces."""
    text = []
    for assistant, title in ((0, "Without an assistant"), (1, "Behind an assistant in the teacher's space")):
        columns, rows = _columns(sizes.compared), {}
        for name in sizes.methods:
            cells = [
                values(maps, method=name, budget=budget, search=search, assistant=assistant)
                for budget in sizes.compared
                for search in SEARCHES
            ]
            if any(cells):
                rows[METHODS[name].title] = cells
        text.append(table(f"{title}: mAP in points, mean ± deviation (seeds)", columns, rows))
    curve = {
        f"{METHODS[name].title}, {search}": [
            values(maps, method=name, budget=one, search=search) for one in sizes.budgets
        ]
        for name, search in (("own", "symmetric"), ("across", "symmetric"), ("across", "asymmetric"))
    }
    text.append(table("Both spaces by the number of answers", [str(budget) for budget in sizes.budgets], curve))
    return "\n".join(text)


def _columns(budgets: Iterable[int]) -> Sequence[str]:
    return [f"{budget}, {search}" for budget in budgets for search in SEARCHES]


def with_search(run: Run, search: str) -> Run:
    """Returns the same training, searched another way."""
    return dataclasses.replace(run, search=search)
