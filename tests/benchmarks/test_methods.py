"""The benchmark of methods: equal terms, choice on validation alone, runs that survive a kill, figures by formula."""

import csv
import dataclasses
import json
import math

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from benchmarks.long_runs import Pace
from benchmarks.methods import data as methods_data
from benchmarks.methods import train as methods_train
from benchmarks.methods.__main__ import run_plan
from benchmarks.methods.plan import METHODS, REFERENCES, Plan, Run, choose, chosen_settings, rate_beyond
from benchmarks.methods.report import figures_of, markdown_table
from benchmarks.methods.results import Results
from kdistill import losses
from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings.loss_options import parse_loss_options
from kdistill.stages.distilling.trainer import loss_of


def results_in(folder, setup="a"):
    return Results(folder / "runs.csv", Run, lambda run: setup)


def small_plan(**changes):
    given = {"methods": ("softmax_ranking", "contrastive"), "budgets": (4, 8), "seeds": 2, "choice_seeds": 1}
    return Plan(**{**given, "learning_rates": (1e-4, 1e-3), "pool": 16, **changes})


def score(run):
    """Stands for a training: a fixed mAP for each run, best at the learning rate 1e-3 and the last strength."""
    best = run.learning_rate == 1e-3 and run.options == METHODS[run.method].strengths[-1].options
    return {"map": 0.5 + 0.1 * best + 0.001 * run.budget, "recall_at_1": 0.5}


@pytest.fixture(scope="module")
def generated():
    return methods_data.generated()


@pytest.mark.long
def test_the_smoke_form_writes_csv_table_picture_and_figures(fresh_module, tmp_path):
    fresh_module("benchmarks.methods", "--smoke", f"--results={tmp_path}", f"--json={tmp_path / 'methods.json'}")
    content = json.loads((tmp_path / "methods.json").read_text())
    assert content["complete"]
    figures = content["figures"]
    assert {"map_teacher", "map_untouched", "map_softmax_ranking_8", "map_regression_8"} <= set(figures)
    assert figures["margin_rival_8"] == pytest.approx(figures["map_softmax_ranking_8"] - figures["map_regression_8"])
    assert all(0 <= value <= 1 for name, value in figures.items() if name.startswith("map_"))
    rows = list(csv.DictReader((tmp_path / "methods_generated.csv").read_text().splitlines()))
    # Two references, three strengths of two methods at one rate, and one test of each.
    assert len(rows) == 2 + 2 * 3 + 2
    assert {row["judged_on"] for row in rows[2:8]} == {"validation"}
    assert {chosen["trials"] for chosen in content["chosen"].values()} == {3}
    assert "| regression |" in (tmp_path / "methods_generated.md").read_text()
    with PIL.Image.open(tmp_path / "methods_generated.png") as picture:
        assert picture.width > 500


def test_every_method_has_a_grid_of_equal_size_whose_options_its_loss_takes():
    plan = small_plan(methods=tuple(METHODS))
    assert {len(plan.grid(name)) for name in METHODS} == {6}
    for method in METHODS.values():
        assert len(set(method.strengths)) == 3
        for strength in method.strengths:
            loss = losses.get(method.loss, **parse_loss_options(strength.options))
            assert method.mixing <= loss.joint
            assert method.bank <= (loss.joint or loss.banks)
            assert method.whole_gallery <= (loss.banks and loss.needs_equal_dims)
            assert loss.needs_labels == (method.kind == "supervised") == (method.images_a_class == 4)


def test_every_loss_of_the_library_is_compared():
    assert {method.loss for method in METHODS.values()} == set(losses.names())


def test_choosing_uses_validation_images_and_seeds_of_its_own():
    plan = small_plan(choice_seeds=2)
    trials = [run for name in plan.methods for trial in plan.grid(name) for run in trial]
    tests = [run for name in plan.methods for run in plan.tests(plan.grid(name)[0][0])]
    assert {run.judged_on for run in trials} == {"validation"}
    assert {run.judged_on for run in tests} == {"test"}
    assert not {run.seed for run in trials} & {run.seed for run in tests}


def test_supervised_methods_are_tested_on_all_images_too():
    plan = small_plan()
    assert plan.budgets_of("softmax_ranking") == [4, 8]
    assert plan.budgets_of("contrastive") == [4, 8, 16]


@pytest.mark.parametrize(
    "changes", [{"methods": ("nothing",)}, {"budgets": (17,)}, {"budgets": ()}, {"seeds": 0}, {"further_trials": -1}]
)
def test_a_plan_that_cannot_be_is_refused(changes):
    with pytest.raises(ArgumentError):
        small_plan(**changes)


def test_the_highest_mean_is_chosen_and_a_diverged_trial_is_not():
    trials = [[Run("pkt", 4, seed, "validation", rate) for seed in (0, 1)] for rate in (1e-4, 2e-4, 4e-4)]
    values = [0.5, 0.7, 0.65, 0.66, 0.9, math.nan]
    maps = dict(zip([run for trial in trials for run in trial], values, strict=True))
    run, mean = choose(trials, maps)
    assert (run.learning_rate, mean) == (2e-4, pytest.approx(0.655))
    with pytest.raises(KdistillError, match="diverged"):
        choose(trials, dict.fromkeys(maps, math.nan))


@pytest.mark.parametrize(
    ("best", "cap", "tried"),
    [
        (2e-4, 9, []),
        (4e-4, 9, [8e-4]),
        (1e-4, 9, [5e-5]),
        (8e-4, 9, [8e-4, 16e-4]),
        (1e-5, 9, [5e-5, 2.5e-5, 1.25e-5]),
        (1.0, 9, [8e-4, 16e-4, 32e-4]),
        (1.0, 8, [8e-4, 16e-4]),
        (1.0, 2, []),
        (1.0, 0, []),
    ],
)
def test_trials_go_on_while_the_best_rate_is_the_largest_or_the_smallest(best, cap, tried):
    plan = small_plan(methods=("pkt",), learning_rates=(1e-4, 2e-4, 4e-4), further_trials=cap, choice_seeds=2)
    maps = {}

    def run_all(trials):
        for run in (run for trial in trials for run in trial if run not in maps):
            # The nearer to the best rate, the better; the last strength is the best one.
            maps[run] = 0.5 - 0.01 * abs(math.log(run.learning_rate / best)) + 1e-4 * (run.weight > 100)

    while any(run not in maps for trial in plan.trials("pkt", maps) for run in trial):
        before = len(maps)
        run_all(plan.trials("pkt", maps))
        assert len(maps) > before
    rates = [trial[0].learning_rate for trial in plan.trials("pkt", maps)]
    assert rates == pytest.approx([rate for rate in (1e-4, 2e-4, 4e-4, *tried) for _ in range(3)])
    chosen, _ = chosen_settings(plan, maps)["pkt"]
    assert chosen.learning_rate == min(rates, key=lambda rate: abs(math.log(rate / best)))
    assert len(maps) == 2 * (9 + 3 * len(tried))
    assert plan.size(maps) == len(plan.references()) + len(maps) + 4


def test_one_rate_is_both_ends_and_rates_at_which_all_diverge_were_too_high():
    trials = [[Run("pkt", 4, 0, "validation", rate)] for rate in (1e-3, 2e-3)]
    (low,), (high,) = trials
    assert rate_beyond(trials[:1], {low: 0.5}) == 2e-3
    assert rate_beyond(trials, {low: 0.5, high: 0.4}) == 5e-4
    assert rate_beyond(trials, {low: math.nan, high: math.nan}) == 5e-4
    assert rate_beyond(trials, {low: 0.5, high: math.nan}) == 5e-4


def test_a_killed_benchmark_continues_and_repeats_nothing(tmp_path):
    plan = small_plan()
    ran = []

    def execute(run):
        if len(ran) == 9:
            raise KeyboardInterrupt
        ran.append(run)
        return score(run)

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, results_in(tmp_path), execute, Pace(None, 1000))
    # The line of a process that was killed while it wrote.
    with (tmp_path / "runs.csv").open("a") as file:
        file.write("a,softmax_ranking,4,0,te")
    again = []
    results = results_in(tmp_path)
    assert run_plan(plan, results, lambda run: (again.append(run), score(run))[1], Pace(None, 1000))
    assert len(ran) == 9
    assert not set(ran) & set(again)
    assert len(ran) + len(again) == len(set(ran) | set(again)) == plan.size(results.maps)
    assert run_plan(plan, results_in(tmp_path), None, Pace(None))
    tests = [run for run in again if run.judged_on == "test" and run.method in METHODS]
    assert {(run.learning_rate, run.options) for run in tests if run.method == "contrastive"} == {(1e-3, "margin=1")}
    rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert len(rows) == plan.size(results.maps)
    assert all(None not in row and None not in row.values() for row in rows)


def test_the_time_limit_stops_between_runs(tmp_path):
    results = results_in(tmp_path)
    assert not run_plan(small_plan(), results, score, Pace(0.0))
    assert not results.maps


def test_lines_of_another_setup_are_kept_and_not_counted(tmp_path):
    run = Run("teacher", 0, 0)
    results_in(tmp_path).add(run, {"map": 0.25, "recall_at_1": 0.5}, 1.0)
    other = results_in(tmp_path, "b")
    assert not other.maps
    other.add(run, {"map": math.nan, "recall_at_1": math.nan}, 1.0)
    assert results_in(tmp_path).maps == {run: 0.25}
    assert math.isnan(results_in(tmp_path, "b").maps[run])


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "runs.csv").write_text("name,value\n")
    with pytest.raises(KdistillError, match="setup,method,budget"):
        results_in(tmp_path)


def test_figures_follow_their_formulas():
    maps = {
        ("untouched", 0): {0: 0.2, 1: 0.3},
        ("softmax_ranking", 8): {0: 0.5, 1: 0.6},
        ("softmax_ranking_unmixed", 8): {0: 0.45, 1: 0.5},
        ("rkd", 8): {0: 0.4, 1: 0.45},
        ("pkt", 8): {0: 0.44, 1: 0.4},
        ("list_mle", 8): {0: 0.9, 1: 0.9},
        ("contrastive", 8): {0: 0.3, 1: 0.7},
        ("contrastive", 16): {0: 0.6, 1: 0.8},
    }
    figures, best = figures_of(maps, 16)
    assert best == {8: "rkd"}
    assert figures["map_untouched"] == pytest.approx(0.25)
    assert figures["margin_rival_8"] == pytest.approx((0.1 + 0.15) / 2)
    assert figures["margin_rival_std_8"] == pytest.approx(np.std([0.1, 0.15], ddof=1))
    assert figures["margin_control_8"] == pytest.approx((0.05 + 0.1) / 2)
    assert figures["margin_supervised_8"] == pytest.approx((0.2 - 0.1) / 2)
    assert figures["closed_8"] == pytest.approx(((0.5 - 0.2) / (0.6 - 0.2) + (0.6 - 0.3) / (0.8 - 0.3)) / 2)


def test_the_table_shows_unfinished_methods_as_missing():
    plan = small_plan()
    finished = {run: score(run)["map"] for trial in plan.grid("softmax_ranking") for run in trial}
    chosen, _ = chosen_settings(plan, finished)["softmax_ranking"]
    finished |= {run: 0.5 + 0.1 * run.seed for run in plan.tests(chosen) if run.budget == 4}
    table = markdown_table(plan, finished, "title")
    assert "| softmax ranking, mixtures | 55.0 ± 7.1 | 0.001 | student_temperature=0.1 | 6+ |" in table
    assert "contrastive" not in table


def test_images_are_nested_and_the_same_for_every_method(generated):
    few, many = (methods_train.chosen_images(generated, Run("pkt", budget, 3)) for budget in (4, 12))
    assert np.array_equal(few, many[:4])
    assert np.array_equal(many, methods_train.chosen_images(generated, Run("contrastive", 12, 3)))
    assert len(set(many.tolist())) == 12


def test_the_control_differs_from_the_default_by_its_mixtures_alone(generated):
    default, control = (
        methods_train.settings_of(generated, Run(name, 8, 1, "test", 1e-3, "student_temperature=0.1"))
        for name in ("softmax_ranking", "softmax_ranking_unmixed")
    )
    assert (default.joint.mixtures, control.joint.mixtures) == (generated.settings.joint.mixtures, 0)
    assert default.changed(mixtures=0) == control
    assert loss_of(control).options["student_temperature"] == 0.1


def test_a_weighted_loss_is_the_loss_times_its_weight():
    rows = tf.constant(np.random.default_rng(0).standard_normal((5, 4)), tf.float32)
    answers = tf.constant(np.random.default_rng(1).standard_normal((5, 6)), tf.float32)
    for name in ("gram", "pkt"):
        loss = losses.get(name)
        weighted = methods_train.WeightedLoss(loss, 100.0)
        assert weighted.joint == loss.joint
        assert float(weighted(answers, rows)) == pytest.approx(100 * float(loss(answers, rows)), rel=1e-5)


@pytest.mark.parametrize("method", [method for method in METHODS.values() if losses.get(method.loss).banks])
def test_rivals_that_rank_or_contrast_have_a_bank(method, generated):
    settings = methods_train.settings_of(generated, Run(method.name, 12, 1, "test", 1e-3))
    default = generated.settings.joint.bank_size
    assert settings.joint.bank_size == default > 24
    few = dataclasses.replace(generated, settings=generated.settings.changed(bank_size=16))
    settings = methods_train.settings_of(few, Run(method.name, 12, 1, "test", 1e-3))
    # Where a loss compares with teacher vectors alone, there is room for two passes over the images.
    assert settings.joint.bank_size == (24 if method.name in ("csd", "seed") else 16)


def test_supervised_methods_see_several_images_a_class(generated):
    views, rows = methods_train.shared_views(generated, 16, 2, 4)
    assert views.shape == (2, 4, 16, 16, 3)
    assert all(len(set(batch)) == 1 for batch in generated.pool.labels[rows])
    _, others = methods_train.shared_views(generated, 16, 2, 1)
    assert any(len(set(batch)) > 1 for batch in generated.pool.labels[others])


@pytest.mark.long
@pytest.mark.parametrize("name", ["contrastive", "seed"])
def test_past_rows_take_part_in_the_training_of_rivals(name, generated, monkeypatch):
    students = []
    for bank in (True, False):
        monkeypatch.setitem(METHODS, name, dataclasses.replace(METHODS[name], bank=bank))
        students.append(methods_train.train(generated, Run(name, 8, 0, "test", 1e-3)))
    embeddings = [student(generated.test.pixels).numpy() for student in students]
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-6


@pytest.mark.long
def test_equal_runs_give_equal_results_and_labels_train_too(generated):
    run = Run("contrastive", 8, 0, "test", 1e-3, "margin=0.7")
    first, second = (methods_train.execute(generated, run) for _ in range(2))
    assert first == second
    assert 0 < first["map"] <= 1


def test_setups_change_with_what_a_method_depends_on(generated):
    def changed(**changes):
        settings = generated.settings.changed(**changes)
        other = methods_train.setups(dataclasses.replace(generated, settings=settings))
        return {name for name, setup in methods_train.setups(generated).items() if setup != other[name]}

    mixing = {name for name, method in METHODS.items() if method.mixing}
    assert not changed(seed=5, learning_rate=1.0, loss="pkt", data_dir="elsewhere")
    assert changed(steps=3) == {*METHODS, *REFERENCES}
    assert changed(mixing_alpha=0.9) == mixing
    banks = {*mixing, "softmax_ranking_unmixed", "darkrank", "csd", "seed", "contrastive", "triplet_semihard"}
    assert changed(bank_size=64) == banks
    moved = dataclasses.replace(generated, pool=generated.validation)
    assert moved.setup() != generated.setup()


def test_pixels_are_decoded_once(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        PIL.Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"{name}.png")
    images = ImageSet([Image(f"{name}.png", path=tmp_path / f"{name}.png") for name in ("a", "b")])
    first = methods_data.cached_pixels(images, 8, tmp_path / "kept" / "pixels.npz")
    assert first.shape == (2, 8, 8, 3)
    (tmp_path / "a.png").unlink()
    assert np.array_equal(methods_data.cached_pixels(images, 8, tmp_path / "kept" / "pixels.npz"), first)
    only = methods_data.cached_pixels(images.subset([1]), 8, tmp_path / "kept" / "pixels.npz")
    assert np.array_equal(only, first[1:])


def test_grocery_gives_the_pool_its_labels_and_the_teachers_rows(tmp_path):
    names = [f"{index}.png" for index in range(9)]
    for name in names:
        PIL.Image.fromarray(np.full((10, 10, 3), 28 * int(name[0]), np.uint8)).save(tmp_path / name)
    (tmp_path / "pool.txt").write_text("4.png\n1.png\n")
    for file, rows in (("train.txt", range(6)), ("val.txt", (6, 7)), ("test.txt", (7, 8))):
        (tmp_path / file).write_text("".join(f"{names[row]}, {row % 3}, 0\n" for row in rows))
    np.savez(tmp_path / "teacher_expert.npz", ids=names, embeddings=np.eye(9, dtype=np.float32))
    problem = methods_data.grocery(tmp_path, None, tmp_path / "cache", image_size=32, steps=7)
    assert problem.pool.labels.tolist() == [1, 1]
    assert problem.pool.teacher.argmax(axis=1).tolist() == [4, 1]
    assert problem.pool.pixels[:, 0, 0, 0].tolist() == [112, 28]
    assert problem.sources.shape == (2, 40, 40, 3)
    assert problem.settings.training.steps == 7
    (tmp_path / "train.txt").write_text("1.png, 0\n")
    with pytest.raises(KdistillError, match=r"4\.png"):
        methods_data.grocery(tmp_path, None, tmp_path / "cache", image_size=32, steps=7)
