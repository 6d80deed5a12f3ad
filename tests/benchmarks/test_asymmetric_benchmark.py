"""The benchmark of the teacher's space: its plan, its figures by formula, its rivals, and a run on generated images."""

import json

import numpy as np
import pytest

from benchmarks.asymmetric.plan import METHODS, PARTS, RIVALS, SEARCHES, Run, Sizes, wanted
from benchmarks.asymmetric.report import figures_of, tables_of
from benchmarks.asymmetric.rivals import SSP, ContrastiveAML

SIZES = Sizes((4, 8, 16), (4, 8, 16), 8, (4,), (8, 4), 2)


def score(run: Run) -> float:
    """Stands for a training: ours two points above CSD, which is the best rival; an assistant is worth three."""
    value = 0.4 + 0.01 * run.seed + 0.001 * run.budget + 0.03 * run.assistant + 0.01 * run.table
    value -= {"across": 0.0, "csd": 0.02, "own": -0.1}.get(run.method, 0.05)
    return value - 0.02 * (run.dimension > 0) + 0.001 * (run.learning_rate == 4e-4)


def everything() -> dict[Run, float]:
    maps: dict[Run, float] = {}
    for part in PARTS:
        for group in wanted(part, maps, SIZES):
            maps |= {run: score(run) for run in group}
    return maps


def test_every_trained_method_has_as_many_trials_and_is_judged_with_other_seeds():
    maps = everything()
    trials = [run for run in maps if run.judged_on == "validation" and not run.assistant]
    counts = {name: sum(run.method == name for run in trials) for name in METHODS}
    trained = {name: count for name, count in counts.items() if count > 1}
    assert set(trained.values()) == {9}
    assert {name for name, count in counts.items() if count == 1} == {
        "ridge", "procrustes", "residual_mlp", "ridge_turned", "random_head",
    }  # fmt: skip
    assert {run.seed for run in trials}.isdisjoint({run.seed for run in maps if run.judged_on == "test"})
    assert {run.learning_rate for run in maps if run.judged_on == "test"} == {0.0, 4e-4}


def test_figures_follow_their_formulas():
    figures = figures_of(everything(), SIZES)
    # Mean over the seeds 0 and 1, behind the assistant but where each image has an answer.
    assert figures["asymmetric_map_4"] == pytest.approx(40 + 0.5 + 0.4 + 3 + 0.1)
    assert figures["asymmetric_map_16"] == pytest.approx(40 + 0.5 + 1.6 + 0.1)
    assert figures["gain_over_best_rival_8"] == pytest.approx(2)
    assert figures["gain_over_best_rival_16"] == pytest.approx(2)
    assert figures["own_space_map_8"] - figures["asymmetric_map_8_alone"] == pytest.approx(10)
    assert figures["gain_of_known_gallery_4"] == pytest.approx(1)
    assert figures["projected_loss"] == pytest.approx(2)
    assert "lite2_asymmetric_map_4" in figures
    assert "CSD, all known vectors" in tables_of(everything(), SIZES)
    assert set(RIVALS) == {"regression", "aml", "raml", "csd", "ssp", "ridge", "procrustes", "residual_mlp"}


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_contrastive_aml_against_a_loop():
    random = np.random.default_rng(0)
    known, student = unit(random.normal(size=(6, 4))), unit(random.normal(size=(3, 4)))
    expected = []
    for row in range(3):
        others = [max(0.0, float(student[row] @ known[other]) - 0.2) for other in range(6) if other != row]
        expected.append(np.mean(others) - float(student[row] @ known[row]))
    loss = ContrastiveAML(known, margin=0.2)
    assert float(loss.call(known[:3], student)) == pytest.approx(np.mean(expected), rel=1e-4)


def test_ssp_is_zero_where_student_and_teacher_agree_and_against_a_loop():
    random = np.random.default_rng(1)
    known, student = unit(random.normal(size=(40, 6))), unit(random.normal(size=(3, 6)))
    loss = SSP(known, parts=2, temperature=0.1)
    assert float(loss.call(known[:3], known[:3])) == pytest.approx(0, abs=1e-5)
    expected = []
    for part, centres in enumerate(loss.centres):
        for row in range(3):
            p, q = (np.exp(rows[row, 3 * part : 3 * part + 3] @ centres.T / 0.1) for rows in (known, student))
            p, q = p / p.sum(), q / q.sum()
            expected.append(np.sum(p * np.log(p / q)))
    assert len(loss.centres[0]) == 10
    assert float(loss.call(known[:3], student)) == pytest.approx(np.mean(expected), rel=1e-3)


@pytest.mark.long
def test_smoke(fresh_module, tmp_path):
    file = tmp_path / "result.json"
    fresh_module("benchmarks.asymmetric", "--smoke", f"--json={file}", "--parts=compared")
    report = json.loads(file.read_text())
    assert report["complete"]
    # Rivals stand at the budgets that are compared alone.
    figures = {"asymmetric_map_4", "gain_over_best_rival_4"}
    assert figures <= report["figures"].keys()
    assert len(SEARCHES) == 3
