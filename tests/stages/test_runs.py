"""Whatever happens to a work folder, a report's numbers are those of the settings and answers that it states.

The stages are light ones; what runs them, records them and looks at images and files is the real thing.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import time
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import light_stages
import numpy as np
import PIL.Image
import pytest
from light_stages import KILL, Killed

import main
from kdistill.errors import ArgumentError, KdistillError, NotBetter
from kdistill.settings import Settings
from kdistill.stages.entries import settings_of
from kdistill.stages.opening import inputs
from kdistill.stages.runner import run_stages
from kdistill.stages.stage import Registry
from kdistill.stages.workdir import Workdir

LIGHT = Registry(
    [dataclasses.replace(stage, run=f"light_stages:{stage.name}") for stage in main.STAGES if stage.name != "web"]
)
NAMES = LIGHT.names
MADE = ("answers.npz", "student.keras", "gallery.npz", "neighbours.json", "card.json", "report.html")
FILES = (*MADE, "judging.npz", "assistant.npz")


def paint(path: Path, shade: int) -> None:
    PIL.Image.fromarray(np.full((8, 8, 3), shade % 256, np.uint8)).save(path)
    # Pictures of one size that follow each other within a clock tick must not look the same.
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


def photos(root: Path, count: int = 6) -> Path:
    root.mkdir()
    for role in ("pool", "test"):
        for number in range(count):
            paint(root / f"{role}{number}.png", 20 * number)
    (root / "pool.txt").write_text("".join(f"pool{number}.png\n" for number in range(count)))
    (root / "test.txt").write_text("".join(f"test{number}.png, {number % 2}\n" for number in range(count)))
    np.savez(root / "teacher.npz", ids=np.array(["pool0.png"]), embeddings=np.zeros((1, 2), np.float32))
    return root


def settings(root: Path, workdir: Path, **changes) -> Settings:
    own = {"dataset": "lists", "data_dir": str(root), "teacher": str(root / "teacher.npz"), "workdir": str(workdir)}
    return Settings.of(**{"query_budget": 3, **own, **changes})


def run(wanted: Settings, names=NAMES, **options) -> None:
    run_stages(LIGHT, wanted, names, **options)


def run_to_the_end(wanted: Settings, **options) -> int:
    try:
        run(wanted, **options)
    except NotBetter as error:
        return error.exit_status
    return 0


def figures(workdir: Path) -> dict:
    return json.loads((workdir / "metrics.json").read_text())


CHANGES = [
    ("steps", 5), ("steps", 6), ("loss", "gram"), ("loss", "rkd"), ("seed", 1), ("query_budget", 4),
    ("assistant_backbone", "small_cnn"), ("assistant_backbone", None), ("assistant_steps", 7),
    ("query_budget", 3), ("top_k", 2), ("benchmark_runs", 3), ("scales", (1.0, 0.5)),
    ("judge_queries", 8), ("judge_queries", 9), ("judge_queries", 0), ("export_if_not_better", True),
    ("space", "teacher"), ("space", "own"),
]  # fmt: skip
ACTIONS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(CHANGES)),
    st.tuples(st.just("run"), st.sets(st.sampled_from(NAMES), min_size=1)),
    st.tuples(st.just("redo"), st.sets(st.sampled_from(NAMES), min_size=1)),
    st.tuples(st.just("kill"), st.tuples(st.sampled_from(NAMES[:-1]), st.sampled_from(["before", "after"]))),
    st.tuples(st.just("delete"), st.sampled_from(FILES)),
    st.tuples(st.just("replace"), st.sampled_from(["pool1.png", "test2.png"])),
    st.tuples(st.just("add"), st.sampled_from(["pool", "test"])),
)  # fmt: skip


@pytest.mark.long
@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(st.lists(ACTIONS, max_size=10))
def test_any_sequence_ends_in_a_report_of_what_it_states(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp("any")
    root, workdir, fresh = photos(folder / "photos", 9), folder / "run", folder / "fresh"
    changes: dict = {}
    KILL.clear()
    for shade, (action, argument) in enumerate(actions, 30):
        if action == "set":
            changes[argument[0]] = argument[1]
        elif action in ("run", "redo"):
            with contextlib.suppress(KdistillError, Killed):
                run(settings(root, workdir, **changes), sorted(argument), redo=action == "redo")
        elif action == "kill":
            KILL[argument[0]] = argument[1]
        elif action == "delete":
            (workdir / argument).unlink(missing_ok=True)
        elif action == "replace":
            paint(root / argument, 7 * shade)
        else:
            paint(root / f"{argument}{shade}.png", shade)
            line = f"{argument}{shade}.png" + (", 1" if argument == "test" else "")
            with open(root / f"{argument}.txt", "a") as file:
                file.write(f"{line}\n")
    KILL.clear()
    wanted = settings(root, workdir, **changes)
    try:
        status = run_to_the_end(wanted)
    except ArgumentError:
        # Stages that were finished with other settings run again only when the user says so.
        status = run_to_the_end(wanted, redo=True)
    assert status == run_to_the_end(wanted.changed(workdir=str(fresh)))
    assert (workdir / "card.json").exists() == (fresh / "card.json").exists() == (status == 0)
    assert figures(workdir) == figures(fresh)
    told = json.loads((workdir / "report.html").read_text())
    expected = json.loads((fresh / "report.html").read_text())
    assert told["figures"] == expected["figures"]
    assert told["flags"].replace(str(workdir), str(fresh)) == expected["flags"]
    shutil.rmtree(folder)


@pytest.fixture
def root(tmp_path):
    return photos(tmp_path / "photos")


def test_answers_of_a_larger_budget_make_a_new_student(root, tmp_path):
    run(settings(root, tmp_path / "run"))
    more = settings(root, tmp_path / "run", query_budget=5)
    run(more, ["ask"], redo=True)
    assert set(figures(tmp_path / "run")) == {"queries", "answers"}, "figures of the old student are shown"
    run(more, ["distill", "evaluate"])
    run(settings(root, tmp_path / "fresh", query_budget=5), ["ask", "distill", "evaluate"])
    assert figures(tmp_path / "run") == figures(tmp_path / "fresh")


@pytest.mark.parametrize("file", MADE)
def test_a_deleted_file_is_made_again(root, tmp_path, file):
    run(settings(root, tmp_path / "run"))
    before = figures(tmp_path / "run")
    (tmp_path / "run" / file).unlink()
    run(settings(root, tmp_path / "run"))
    assert (tmp_path / "run" / file).exists()
    assert figures(tmp_path / "run") == before


@pytest.mark.parametrize("file", MADE)
def test_a_file_that_was_changed_is_made_again(root, tmp_path, file):
    run(settings(root, tmp_path / "run"))
    before = (tmp_path / "run" / file).read_text()
    (tmp_path / "run" / file).write_text("something else")
    run(settings(root, tmp_path / "run"))
    assert (tmp_path / "run" / file).read_text() == before


@pytest.mark.parametrize(
    ("change", "stage", "words"),
    [
        (lambda root: paint(root / "test1.png", 99), "evaluate", "1 replaced ('test1.png')"),
        (lambda root: paint(root / "pool1.png", 99), "ask", "1 replaced ('pool1.png')"),
        (lambda root: (root / "test.txt").write_text("test0.png, 0\ntest1.png, 1\n"), "evaluate", "4 removed"),
        (lambda root: (root / "test.txt").write_text("".join(f"test{n}.png, {n % 3}\n" for n in range(6))), "evaluate",
         "the labels of the gallery changed"),
        (lambda root: (root / "teacher.npz").write_bytes(b"another"), "ask", "the teacher changed"),
    ],
)  # fmt: skip
def test_images_that_changed_are_noticed_and_named(root, tmp_path, caplog, change, stage, words):
    run(settings(root, tmp_path / "run"))
    change(root)
    with pytest.raises(ArgumentError, match=f"the stage '{stage}'") as caught:
        run(settings(root, tmp_path / "run"), ["report"])
    assert words in str(caught.value)
    caplog.set_level("INFO", logger="absl")
    run(settings(root, tmp_path / "run"))
    assert any(words in record.getMessage() and stage in record.getMessage() for record in caplog.records)
    run(settings(root, tmp_path / "fresh"))
    assert figures(tmp_path / "run") == figures(tmp_path / "fresh")


def test_other_settings_are_refused_before_anything_is_done(root, tmp_path):
    run(settings(root, tmp_path / "run"), ["ask", "distill", "evaluate"])
    before = figures(tmp_path / "run")
    for name, value in (("steps", 9), ("seed", 3), ("query_budget", 5)):
        with pytest.raises(ArgumentError, match=f"was run with --{name}=.*, not {value}"):
            run(settings(root, tmp_path / "run", **{name: value}))
        assert figures(tmp_path / "run") == before
    # What decides nothing, or nothing here, may change.
    run(settings(root, tmp_path / "run", evaluations=2, mixing_alpha=0.5, mixing="uniform", max_memory_mb=9), ["ask"])


def test_a_stage_that_needs_another_first_says_which(root, tmp_path):
    with pytest.raises(ArgumentError, match="run the stage 'ask' first"):
        run(settings(root, tmp_path / "run"), ["distill"])
    assert not (tmp_path / "run" / "flags.txt").exists()
    run(settings(root, tmp_path / "run"), ["ask", "distill"])
    run(settings(root, tmp_path / "run"), ["ask"], redo=True)
    with pytest.raises(ArgumentError, match="run the stage 'distill' first"):
        run(settings(root, tmp_path / "run"), ["evaluate"])


def test_a_second_run_in_the_folder_is_refused_in_a_sentence(root, tmp_path):
    workdir = Workdir(tmp_path / "run")
    with workdir.locked(), pytest.raises(KdistillError, match="another run") as caught:
        run(settings(root, tmp_path / "run"))
    assert str(os.getpid()) in str(caught.value)
    run(settings(root, tmp_path / "run"), ["ask"])


def test_the_record_gives_back_the_settings(root, tmp_path):
    wanted = settings(root, tmp_path / "run", steps=7, scales=(1.0, 0.5), top_k=4)
    run(wanted)
    found = settings_of(tmp_path / "run")
    for name in ("steps", "scales", "top_k", "data_dir", "query_budget"):
        assert found.value(name) == wanted.value(name)


def test_every_file_and_input_of_the_registry_is_known():
    made = {file for stage in main.STAGES for file in stage.makes}
    for stage in main.STAGES:
        assert set(stage.inputs) <= inputs.INPUTS.keys()
        assert set(stage.reads) <= made
        for file in stage.reads:
            assert main.STAGES.maker(file) in main.STAGES.before(stage.name)
    assert main.STAGES.names == (
        "ask",
        "space",
        "assist",
        "tune",
        "distill",
        "evaluate",
        "export",
        "benchmark",
        "report",
        "web",
    )
    assert "web" not in main.STAGES.defaults


def test_light_stages_cover_the_registry():
    assert all(callable(getattr(light_stages, name)) for name in NAMES)
