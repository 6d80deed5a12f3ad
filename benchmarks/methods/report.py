"""What `benchmarks.methods` shows: figures with their spread, a table, a picture."""

from pathlib import Path

import numpy as np

from benchmarks import drawing
from benchmarks.methods.plan import METHODS, Plan, Run, chosen_settings, finished_trials

Maps = dict[tuple[str, int], dict[int, float]]
"""(method, budget) -> seed -> mAP on the test images."""

_COLOURS = {
    "softmax_ranking": "#c0392b",
    "softmax_ranking_unmixed": "#e59866",
    "contrastive": "#1b2631",
    "triplet_semihard": "#85929e",
}


def test_maps(plan: Plan, finished: dict[Run, float]) -> Maps:
    """Returns the test results of the plan that are finished."""
    runs = [
        *plan.references(),
        *(run for chosen, _ in chosen_settings(plan, finished).values() for run in plan.tests(chosen)),
    ]
    maps: Maps = {}
    for run in runs:
        if run in finished:
            maps.setdefault((run.method, run.budget), {})[run.seed] = finished[run]
    return maps


def figures_of(maps: Maps, pool: int) -> tuple[dict[str, float], dict[int, str]]:
    """Returns the figures, and the best rival of each budget by name.

    Figures, mean over seeds with the standard deviation (n - 1) beside each as `..._std_...` where there are two seeds:

    - `map_METHOD_BUDGET`: mAP of the student; `map_teacher`, `map_untouched`;
    - `margin_rival_BUDGET`: default minus the rival without labels that is best there, by the same seed;
    - `margin_control_BUDGET`: default minus the control without mixing;
    - `margin_supervised_BUDGET`: default minus contrastive with the labels of the same images;
    - `closed_BUDGET`: (default - untouched) / (contrastive on all images - untouched).

    Args:
        maps: of `test_maps`.
        pool: number of all images.
    """
    figures: dict[str, float] = {}
    for (method, budget), values in maps.items():
        _put(figures, f"map_{method}", budget or None, list(values.values()))
    best_rivals: dict[int, str] = {}
    untouched, everything = maps.get(("untouched", 0), {}), maps.get(("contrastive", pool), {})
    default = next(name for name, method in METHODS.items() if method.kind == "default")
    control = next(name for name, method in METHODS.items() if method.kind == "control")
    for budget in sorted(budget for method, budget in maps if method == default):
        ours = maps[default, budget]
        rivals = {
            name: maps[name, budget]
            for name, method in METHODS.items()
            if method.kind == "rival" and (name, budget) in maps
        }
        if rivals:
            best = max(rivals, key=lambda name: float(np.mean(list(rivals[name].values()))))
            best_rivals[budget] = best
            _put(figures, "margin_rival", budget, _differences(ours, rivals[best]))
        _put(figures, "margin_control", budget, _differences(ours, maps.get((control, budget), {})))
        _put(figures, "margin_supervised", budget, _differences(ours, maps.get(("contrastive", budget), {})))
        seeds = [seed for seed in ours if seed in untouched and seed in everything]
        shares = [(ours[seed] - untouched[seed]) / (everything[seed] - untouched[seed]) for seed in seeds]
        _put(figures, "closed", budget, shares)
    return figures, best_rivals


def _differences(ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def _put(figures: dict[str, float], name: str, budget: int | None, values: list[float]) -> None:
    if values:
        suffix = "" if budget is None else f"_{budget}"
        figures[f"{name}{suffix}"] = float(np.mean(values))
    if len(values) > 1:
        figures[f"{name}_std{suffix}"] = float(np.std(values, ddof=1))


def markdown_table(plan: Plan, finished: dict[Run, float], title: str) -> str:
    """Returns the results as a Markdown table: mean ± standard deviation of the mAP in points, and what was chosen.

    The last column counts the trials that it was chosen among, with a + where more are still to come.
    """
    maps = test_maps(plan, finished)
    chosen = chosen_settings(plan, finished)
    budgets = sorted({budget for _, budget in maps if budget})
    lines = [
        title,
        "",
        "| method | "
        + " | ".join(f"{budget:,} images" for budget in budgets)
        + " | learning rate | strength | trials |",
        "|---|" + "---:|" * (len(budgets) + 1) + "---|---:|",
    ]
    for name in plan.methods:
        if name not in chosen:
            continue
        run, _ = chosen[name]
        strength = run.options or (f"weight={run.weight:g}" if run.weight != 1 else "as published")
        cells = [_points(maps.get((name, budget), {})) for budget in budgets]
        done = len(finished_trials(plan, name, finished))
        trials = f"{done}+" if done < len(plan.trials(name, finished)) else f"{done}"
        cells += [f"{run.learning_rate:g}", strength, trials]
        lines.append(f"| {METHODS[name].title} | {' | '.join(cells)} |")
    for name, text in (("untouched", "untouched student"), ("teacher", "teacher")):
        if (name, 0) in maps:
            lines.append(f"| {text} | {' | '.join([_points(maps[name, 0])] * len(budgets))} | | | |")
    return "\n".join(lines) + "\n"


def _points(values: dict[int, float]) -> str:
    """Returns mean ± deviation in points, and no deviation for one seed."""
    if not values:
        return "–"
    points = 100 * np.array(list(values.values()))
    return f"{points.mean():.1f} ± {points.std(ddof=1):.1f}" if len(points) > 1 else f"{points[0]:.1f}"


def draw(plan: Plan, maps: Maps, title: str, path: Path) -> None:
    """Draws mean and standard deviation of the mAP against the number of images."""
    plt = drawing.pyplot()
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    colours = plt.get_cmap("tab20").colors
    # Without its reds, which are the default's.
    thin = iter(colours[:6] + colours[8:])
    for name in plan.methods:
        method = METHODS[name]
        budgets = [budget for budget in plan.budgets_of(name) if (name, budget) in maps]
        if not budgets:
            continue
        values = [list(maps[name, budget].values()) for budget in budgets]
        axes.errorbar(
            budgets,
            [float(np.mean(group)) for group in values],
            [float(np.std(group, ddof=1)) if len(group) > 1 else 0.0 for group in values],
            marker="o",
            markersize=3,
            capsize=2,
            color=_COLOURS.get(name) or next(thin),
            linewidth=2.5 if method.kind in ("default", "control") else 1.0,
            linestyle={"supervised": "--", "joint": "-."}.get(method.kind, "-"),
            label=method.title,
        )
    for name, style in (("teacher", ":"), ("untouched", "-")):
        if (name, 0) in maps:
            level = float(np.mean(list(maps[name, 0].values())))
            axes.axhline(level, color="0.6", linestyle=style, linewidth=1.0, label=name)
    ticks = list(plan.budgets)
    axes.set(title=title, xlabel="images that the student learns from", ylabel="mAP", xscale="log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
