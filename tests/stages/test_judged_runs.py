"""Runs without a label: what judges is held out, asked about apart, never learned from; a run that harms says so."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest

import main
from kdistill.data.layouts.folder import folder_data
from kdistill.errors import ArgumentError, NotBetter
from kdistill.settings import Settings
from kdistill.stages.asking.held_out import choose_held_out
from kdistill.stages.judging.verdict import verdict_of
from kdistill.teachers import Ledger
from kdistill.teachers.ledger.records import JUDGING, LEARNING

COUNT, JUDGES, BUDGET = 120, 48, 40


def colours(images):
    """A teacher that knows the mean colour, which an untrained network sees badly."""
    means = np.stack([image.pixels().reshape(-1, 3).mean(axis=0) for image in images]) - 128
    return np.concatenate([means, np.abs(means)], axis=1).astype(np.float32)


def noise(images):
    """A teacher of random vectors: there is nothing to learn."""
    seeds = [int(image.content_hash()[:8], 16) for image in images]
    return np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds]).astype(np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of many colours under patterns that have nothing to do with them."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(COUNT):
        pattern = np.kron(random.integers(-50, 51, (4, 4, 1)), np.ones((4, 4, 1)))
        pixels = np.clip(random.integers(40, 216, 3) + pattern, 0, 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def settings(photos, workdir, teacher="colours", **changes) -> Settings:
    values = {
        "data_dir": str(photos),
        "teacher": f"{__name__}:{teacher}",
        "workdir": str(workdir),
        "query_budget": BUDGET,
        "judge_queries": JUDGES,
        "price_per_query": 0.5,
        "alpha": 0.25,
        "image_size": 16,
        "embedding_dim": 8,
        "augment": False,
        "learning_rate": 3e-3,
        "steps": 160,
        "batch_size": 12,
        "mixtures": 8,
        "evaluations": 2,
    }
    return Settings.of(**(values | changes))


def metrics(workdir) -> dict:
    return json.loads((workdir / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("judged")
    # The photo that judges first lies in the folder once more, under another name.
    copies = tmp_path_factory.mktemp("copies") / "all"
    shutil.copytree(photos, copies)
    main.run_stages(settings(copies, workdir), ["ask", "distill", "evaluate", "report"], redo=False)
    return workdir, copies


@pytest.mark.long
def test_what_judges_is_never_learned_from(finished):
    workdir, photos = finished
    hashes = {image.id: image.content_hash() for image in folder_data(photos).gallery}
    with Ledger(workdir / "ledger.sqlite") as ledger:
        judged, learned = ledger.contents(JUDGING), ledger.contents(LEARNING)
        spent = {name: ledger.summary().account(name).spent for name in (JUDGING, LEARNING)}
    with np.load(workdir / "judging.npz") as judging, np.load(workdir / "answers.npz") as answers:
        assert {hashes[name] for name in judging["ids"].tolist()} == judged
        assert {hashes[name] for name in answers["ids"].tolist()} == learned
        assert set(answers["contents"].tolist()) == learned
    assert not judged & learned
    assert spent == {JUDGING: JUDGES, LEARNING: BUDGET}
    told = metrics(workdir)
    assert [told[name] for name in ("queries", "cost", "judge_queries", "judge_cost", "held_out")] == [
        BUDGET, 0.5 * BUDGET, JUDGES, 0.5 * JUDGES, JUDGES
    ]  # fmt: skip


@pytest.mark.long
def test_rows_are_judged_by_overlap_and_no_map_is_made_up(finished):
    workdir, _ = finished
    told = metrics(workdir)
    rows = {row["name"]: row for row in told["rows"]}
    assert all("map" not in row for row in rows.values())
    for name in ("student", "untouched"):
        row = rows[name]
        assert 0 <= row["overlap_at_10_low"] <= row["overlap_at_10"] <= row["overlap_at_10_high"] <= 1
    assert told["verdict"]["by"] == "held-out answers"
    assert told["verdict"]["better"] is True
    assert rows["student"]["overlap_at_10"] > rows["untouched"]["overlap_at_10"]
    page = (workdir / "report.html").read_text()
    assert told["verdict"]["sentence"][:40] in page
    assert "48 photos of the gallery (48 further questions, cost 24.00)" in page


@pytest.mark.long
def test_the_delivered_student_is_the_best_judged_one_however_often_training_pauses(finished, tmp_path):
    workdir, photos = finished
    lines = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["val_overlap_at_10"] for line in lines if line["step"] % 20 == 0}
    assert len(judged) == 8
    row = next(row for row in metrics(workdir)["rows"] if row["name"] == "student")
    assert row["overlap_at_10"] == pytest.approx(max(judged.values()))
    main.run_stages(settings(photos, tmp_path, evaluations=5), ["ask", "distill"], redo=False)
    first, second = ((folder / "student.keras") for folder in (workdir, tmp_path))
    weights = [main_weights(file) for file in (first, second)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_a_tuned_run_trains_with_what_judged_best_and_asks_nothing_more(finished, tmp_path):
    _, photos = finished
    wanted = settings(photos, tmp_path, tune=3, steps=16, export_if_not_better=True)
    main.run_stages(wanted, ["ask", "tune", "distill", "evaluate", "report"], redo=False)
    told = metrics(tmp_path)
    assert [told["queries"], told["judge_queries"], len(told["tuned"]["trials"])] == [BUDGET, JUDGES, 3]
    best = max(told["tuned"]["trials"], key=lambda trial: trial["overlap_at_10"])
    assert told["tuned"]["chosen"] == best["changes"]
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == best["changes"].get("steps", 16)
    assert "Settings that were tried" in (tmp_path / "report.html").read_text()


def main_weights(file):
    import keras

    return keras.models.load_model(file, compile=False).get_weights()


@pytest.mark.long
def test_a_teacher_of_random_vectors_ends_in_a_refusal_and_leaves_no_file_of_an_earlier_student(photos, tmp_path):
    wanted = settings(photos, tmp_path, "noise", steps=8)
    stages = ["ask", "distill", "evaluate", "export", "report"]
    main.run_stages(wanted.changed(export_if_not_better=True), stages, redo=False)
    assert (tmp_path / "student.tflite").exists()
    with pytest.raises(NotBetter, match="NOT BETTER: the student is not better than the same network") as refused:
        main.run_stages(wanted.changed(steps=9), stages, redo=True)
    assert refused.value.exit_status == 3
    assert not list(tmp_path.glob("*.tflite")) + list(tmp_path.glob("*.onnx")) + list(tmp_path.glob("card.json"))
    assert "NOT BETTER" in (tmp_path / "report.html").read_text()
    done = (tmp_path / "stages.json").read_text()
    with pytest.raises(NotBetter):
        main.run_stages(wanted.changed(steps=9), ["export"], redo=False)
    assert (tmp_path / "stages.json").read_text() == done, "the report that was written stays done"


def test_a_dry_run_prices_what_judges_and_writes_nothing(photos, tmp_path, capsys):
    main.run_stages(settings(photos, tmp_path / "run", dry_run=True), ["ask"], redo=False)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("judging: 48 questions: 0 already paid for, 48 to ask at a cost of 24.00")
    assert told[1].startswith("40 questions: 0 already paid for, 40 to ask at a cost of 20.00")
    assert not (tmp_path / "run").exists()


def test_more_judges_hold_the_fewer_and_copies_count_once(photos, tmp_path):
    copies = tmp_path / "all"
    shutil.copytree(photos, copies)
    for number in range(0, COUNT, 2):
        shutil.copy(copies / f"{number:02d}.png", copies / f"copy_{number:02d}.png")
    data = folder_data(copies)
    few, more = (
        set(choose_held_out(settings(copies, tmp_path, judge_queries=count), data, None).tolist()) for count in (10, 30)
    )
    assert few < more
    assert len({data.gallery[position].content_hash() for position in more}) == 30


def test_without_room_for_judges_a_budget_is_refused_before_anything_is_asked(photos, tmp_path):
    with pytest.raises(ArgumentError, match="only 72 images to ask about beside the 48 that are held out"):
        main.run_stages(settings(photos, tmp_path, query_budget=73), ["ask"], redo=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("student", "untouched", "better"),
    [
        ({"map": 0.5}, {"map": 0.4}, True),
        ({"map": 0.4}, {"map": 0.5}, False),
        ({"map": 0.6, "map_hard": 0.3}, {"map": 0.5, "map_hard": 0.31}, False),
        ({}, {}, None),
    ],
)
def test_by_labels_no_level_may_be_worse(student, untouched, better):
    rows = [{"name": "student", **student}, {"name": "untouched", **untouched}]
    verdict = verdict_of(rows, None, None, 0)
    assert verdict.better is better
    assert verdict.sentence.startswith("NOT BETTER") is (better is False)
