"""The benchmark of assistants: its plan, its figures by formula, and a run of everything on generated images."""

import json

import numpy as np
import pytest

from benchmarks.assistant.plan import DEFAULT, ITSELF, PARTS, RIVALS, SMOKE, Run, Sizes, best, wanted
from benchmarks.assistant.report import figures_of, tables_of

SIZES = Sizes(budgets=(4, 8), mixing_budgets=(4,), largest=8, seeds=2, mixing_seeds=3, choice_budget=8, rivals=("rkd",))


def score(run: Run) -> float:
    """Stands for a training: students below their assistants, mixing worth two points, rivals three points lower."""
    value = 0.5 + 0.01 * run.seed + 0.001 * run.budget
    value -= 0.1 * (run.method != ITSELF) + 0.03 * (run.method == "rkd") + 0.02 * (run.assistant == "unmixed")
    return value + 0.001 * (run.assistant_rate == 4e-4)


def everything(sizes: Sizes) -> dict[Run, float]:
    maps: dict[Run, float] = {}
    for part in PARTS:
        for group in wanted(part, maps, sizes):
            maps |= {run: score(run) for run in group}
    return maps


def test_a_plan_judges_what_it_chose_on_validation_images_with_other_seeds():
    maps = everything(SIZES)
    chosen_by = [run for run in maps if run.judged_on == "validation"]
    assert {run.seed for run in chosen_by}.isdisjoint({run.seed for run in maps if run.judged_on == "test"})
    tests = [run for run in wanted_runs("mixing", maps) if run.judged_on == "test"]
    assert {run.assistant_rate for run in tests} == {4e-4}
    assert len(tests) == 2 * 3
    # Every method behind an assistant has as many trials.
    trials = [run for run in wanted_runs("rivals", maps) if run.judged_on == "validation"]
    assert {sum(run.method == name for run in trials) for name in (DEFAULT, "rkd")} == {9}
    assert best(trials[:2], {trials[0]: float("nan"), trials[1]: 0.1}) == trials[1]
    assert best(trials[:2], {trials[0]: 0.1}) is None


def wanted_runs(part: str, maps: dict[Run, float]) -> list[Run]:
    return [run for group in wanted(part, maps, SIZES) for run in group]


def test_figures_follow_their_formulas():
    maps = everything(SIZES)
    figures = figures_of(maps, {"grocery": 0.6, "lite2": 0.8}, SIZES)
    assert figures["assistant_map_8"] == pytest.approx(100 * (0.4 + 0.005 + 0.008), abs=1e-3)
    assert figures["assistant_map_8_std"] == pytest.approx(np.std([0, 1], ddof=1), abs=1e-3)
    assert figures["assistant_itself_4"] == pytest.approx(100 * (0.5 + 0.005 + 0.004), abs=1e-3)
    assert figures["mixing_gain_4"] == pytest.approx(2.0, abs=1e-3)
    assert figures["gain_over_best_rival_4"] == pytest.approx(3.0, abs=1e-3)
    assert figures["gain_over_untaught_8"] == pytest.approx(0.8, abs=1e-3)
    assert figures["lite2_share"] == pytest.approx(figures["lite2_map"] / 0.8, abs=1e-2)
    assert figures["teacher_grocery"] == 60.0


def test_tables_show_what_is_finished_and_a_dash_for_the_rest():
    maps = everything(SIZES)
    some = {run: value for run, value in maps.items() if run.budget != 8 or run.method == "rkd"}
    text = tables_of(some, SIZES)
    assert "| RKD |" in text
    assert "| the assistant itself | 50.9 ± 0.7 (2) | – |" in text


def test_all_label_free_rivals_take_part():
    assert Sizes().rivals == RIVALS
    assert {"rkd", "csd", "raml", "regression"} <= set(RIVALS)


@pytest.mark.long
def test_the_smoke_form_does_its_parts(fresh_module, tmp_path):
    # The others are headlines of other problems and other assistants.
    parts = ["headline", "mixing", "rivals"]
    options = ["--smoke", f"--parts={','.join(parts)}", f"--results={tmp_path}"]
    fresh_module("benchmarks.assistant", *options, f"--json={tmp_path / 'figures.json'}")
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["complete"]
    assert {"assistant_map_8", "mixing_gain_8"} <= set(content["figures"])
    rows = (tmp_path / "methods_assistant.csv").read_text()
    planned = {run for part in parts for group in wanted(part, dict.fromkeys([], 0.0), SMOKE) for run in group}
    assert rows.count("\n") - 1 >= len(planned)
