"""What stands on the disk belongs together at every moment: the record, its figures, the flags that state them."""

import dataclasses
import json
import os
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from light_stages import Killed
from test_runs import LIGHT, NAMES, figures, photos, run, settings

from export.__main__ import main as export_main
from export.gate import run_gate
from export.stage import _made
from export.web import stage as web_stage
from kdistill.data import ImageSet
from kdistill.data.layouts.revisited_truth import RevisitedTruth
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import write_whole
from kdistill.settings import Settings
from kdistill.stages import entries, record
from kdistill.stages.entries import settings_of
from kdistill.stages.opening import inputs
from kdistill.stages.opening.sources import data_of
from kdistill.stages.record import Record
from kdistill.stages.runner import run_stages
from kdistill.stages.stage import Registry, Result, Stage
from kdistill.stages.workdir import Workdir


@pytest.fixture
def root(tmp_path):
    return photos(tmp_path / "photos")


def flags(workdir: Path) -> dict[str, str]:
    lines = [line for line in (workdir / "flags.txt").read_text().splitlines() if line.startswith("--")]
    return dict(line.removeprefix("--").split("=", 1) for line in lines)


def test_a_run_that_does_nothing_does_not_restate_the_figures(root, tmp_path):
    work = tmp_path / "run"
    run(settings(root, work, price_per_query=0.5))
    before = figures(work), flags(work)
    other = settings(root, work, price_per_query=2.0, steps=9, benchmark_runs=3, evaluations=2, scales=(1.0, 0.5))
    run(other, ["ask"])
    assert (figures(work), flags(work)) == before
    run(other, ["ask"], redo=True)
    assert {name: flags(work)[name] for name in ("price_per_query", "steps", "benchmark_runs", "scales")} == {
        "price_per_query": "2.0", "steps": "9", "benchmark_runs": "3", "scales": "1.0,0.5",
    }  # fmt: skip
    assert settings_of(work).asking.price_per_query == 2.0


def test_no_password_stands_in_the_record(root, tmp_path):
    stage = dataclasses.replace(LIGHT["ask"])
    given = settings(root, tmp_path / "run").changed(ledger="postgresql+psycopg://me:secret@host/db")
    assert stage.besides(given)["ledger"] == "postgresql+psycopg://me@host/db"


@pytest.mark.parametrize("file", ["metrics.json", "flags.txt"])
def test_what_tells_of_the_record_is_written_again(root, tmp_path, file):
    work = tmp_path / "run"
    run(settings(root, work))
    before = (work / file).read_bytes()
    (work / file).unlink()
    run(settings(root, work), ["ask"])
    assert (work / file).read_bytes() == before


def test_killed_between_any_two_writes_the_figures_are_of_the_stated_settings(root, tmp_path, monkeypatch):
    writes, kill_at = 0, 0

    def counted(kind):
        write = getattr(record, kind)

        def killing(*arguments):
            nonlocal writes
            writes += 1
            if writes == kill_at:
                raise Killed
            write(*arguments)

        return killing

    expected = {}
    for steps in (5, 6):
        run(settings(root, tmp_path / f"fresh{steps}", steps=steps))
        expected[str(steps)] = figures(tmp_path / f"fresh{steps}")
    monkeypatch.setattr(record, "write_json", counted("write_json"))
    monkeypatch.setattr(record, "write_whole", counted("write_whole"))
    work = tmp_path / "run"

    def check_figures():
        stated, told = expected[flags(work)["steps"]], figures(work)
        assert {name: stated[name] for name in told} == told

    moment = 0
    while kill_at == moment:
        kill_at = 0
        run(settings(root, work, steps=5), redo=True)
        moment += 1
        writes, kill_at = 0, moment
        try:
            run(settings(root, work, steps=6), ["distill", "evaluate"], redo=True)
            kill_at = -1
        except Killed:
            check_figures()
            # Whatever runs next, the record and what tells of it agree again.
            run(settings(root, work, steps=6), ["ask"])
            check_figures()
            found = entries.read_entries(work).values()
            assert figures(work) == {name: value for entry in found for name, value in entry["figures"].items()}
    assert moment > 10


def test_a_made_file_of_the_same_size_and_time_is_noticed(root, tmp_path):
    work = tmp_path / "run"
    run(settings(root, work))
    card = work / "card.json"
    before, about = card.read_text(), card.stat()
    card.write_text("x" * len(before))
    os.utime(card, ns=(about.st_atime_ns, about.st_mtime_ns))
    run(settings(root, work))
    assert card.read_text() == before


def made(settings: Settings, workdir: Workdir) -> Result:
    """A stage that leaves as many parts as --shards says, and a cache that it keeps."""
    if not (workdir.path / "cache").exists():
        write_whole(workdir.path / "cache", "cached")
    parts = [workdir.path / f"part-{number}" for number in range(settings.export.shards)]
    for part in parts:
        write_whole(part, "part")
    return Result(made=[*parts, workdir.path / "cache"])


PARTS = Registry(
    [
        dataclasses.replace(LIGHT["ask"]),
        Stage("parts", "", "test_record:made", groups=("export",), follows=("ask",), continues=("cache",)),
    ]
)


def test_files_of_an_undone_stage_go_when_it_runs_again(root, tmp_path):
    work = tmp_path / "run"
    run_stages(PARTS, settings(root, work, shards=3, top_k=2), ["ask", "parts"])
    run_stages(PARTS, settings(root, work, shards=3, top_k=2), ["ask"], redo=True)
    assert (work / "part-2").exists(), "another stage does not take what can still be looked at"
    run_stages(PARTS, settings(root, work, shards=1, top_k=2), ["parts"])
    assert sorted(file.name for file in work.glob("part-*")) == ["part-0"]


@pytest.mark.parametrize(("edit", "expected"), [(False, "kept"), (True, "cached")])
def test_a_cache_stays_unless_somebody_changed_it(root, tmp_path, edit, expected):
    work = tmp_path / "run"
    work.mkdir()
    (work / "cache").write_text("kept")
    run_stages(PARTS, settings(root, work), ["ask", "parts"])
    if edit:
        (work / "cache").write_text("other")
    run_stages(PARTS, settings(root, work), ["parts"], redo=not edit)
    assert (work / "cache").read_text() == expected
    (work / "cache").unlink()
    run_stages(PARTS, settings(root, work), ["parts"])
    assert (work / "cache").read_text() == "cached"


def test_caches_are_files_of_the_stage_that_asks(tmp_path):
    for cache in ("teacher.keras", "features.npz", "assistant_features.npz"):
        for name in (cache, f"{cache}.made.json"):
            (tmp_path / name).write_text("x")
            assert name in LIGHT["ask"].continues
    assert [file.name for file in Workdir(tmp_path).caches()] == list(LIGHT["ask"].continues)


def test_every_file_of_the_search_page_is_known_and_one_less_makes_it_again(root, tmp_path, monkeypatch):
    def build(workdir, site, data_dir):
        if site.exists() and any(site.iterdir()) and not (site / "site.json").exists():
            raise ArgumentError("no site")
        for name in ("site.json", "models/search.tflite"):
            write_whole(site / name, name)

    monkeypatch.setattr(web_stage, "build_site", build)
    web = dataclasses.replace(light_web(), run="export.web.stage:web")
    registry = Registry([*LIGHT, web])
    work = tmp_path / "run"
    wanted = settings(root, work)
    run_stages(registry, wanted, [*NAMES, "web"])
    for name in ("models/search.tflite", "site.json"):
        (work / "site" / name).unlink()
        run_stages(registry, wanted, ["web"])
        assert (work / "site" / name).read_text() == name


def light_web() -> Stage:
    import main

    return main.STAGES["web"]


def test_all_shards_and_their_sidecars_are_files_of_the_export(tmp_path):
    names = ["student.onnx", "retriever-0.tflite", "retriever-0.json", "retriever-1.tflite", "retriever-1.json"]
    names += ["retriever.onnx", "retriever.onnx.json", "card.json"]
    for name in names:
        (tmp_path / name).write_text("x")
    rows = [{"name": name, "passed": True} for name in ("student.onnx", "retriever-0.tflite", "retriever.onnx")]
    assert sorted(file.name for file in _made(tmp_path, rows)) == sorted(names)


def test_an_index_that_moves_to_the_next_query_is_noticed(tmp_path):
    gallery = ImageSet([])

    def digest(easy):
        empty = tuple(np.zeros(0, np.int64) for _ in easy)
        truth = RevisitedTruth(tuple(np.array(row) for row in easy), empty, empty)
        found = inputs.Inputs(Settings(), tmp_path, keep=False)
        found._data = SimpleNamespace(gallery=gallery, truth=truth)
        return found.digest("gallery")

    assert digest([[1, 2], [3]]) != digest([[1], [2, 3]])
    assert digest([[1, 2], [3]]) == digest([[2, 1], [3]])


def test_the_lists_of_images_behind_the_record_are_let_go_before_a_stage_runs(root, tmp_path, monkeypatch):
    opened: list[weakref.ref] = []
    held: list[int] = []

    def opening(given):
        data = data_of(given)
        opened.append(weakref.ref(data))
        return data

    def counting(stage):
        def counted(*given):
            held.append(sum(one() is not None for one in opened))
            return plain(stage)(*given)

        return counted

    plain = Stage.function
    monkeypatch.setattr(inputs, "data_of", opening)
    monkeypatch.setattr(Stage, "function", counting)
    run(settings(root, tmp_path / "run"), ["ask", "distill", "evaluate"])
    assert opened
    assert held == [0, 0, 0]


def test_weights_that_choose_the_questions_belong_to_them(root, tmp_path):
    weights = tmp_path / "start.keras"
    weights.write_text("one")
    for number, (selection, again) in enumerate((("random", False), ("k-center", True))):
        wanted = settings(root, tmp_path / f"run{number}", student_weights=str(weights), selection=selection)
        weights.write_text("one")
        run(wanted, ["ask"])
        weights.write_text("two")
        ask = LIGHT["ask"]
        opened = Record(tmp_path / f"run{number}", LIGHT)
        found = opened.difference(ask, wanted, inputs.Inputs(wanted, tmp_path / f"run{number}"))
        assert (found is not None) == again
        if found is not None:
            assert found.reason == "was run before the weights of what chooses changed"


def test_ids_beside_a_table_belong_to_it(root, tmp_path):
    np.save(root / "teacher.npy", np.zeros((6, 2), np.float32))
    (root / "teacher.txt").write_text("\n".join(f"pool{number}.png" for number in range(6)))
    wanted = settings(root, tmp_path / "run", teacher=str(root / "teacher.npy"))
    run(wanted)
    (root / "teacher.txt").write_text("\n".join(f"pool{number}.png" for number in reversed(range(6))))
    with pytest.raises(ArgumentError, match="before the teacher changed"):
        run(wanted, ["report"])


def test_names_that_are_no_text_stand_in_the_flags_as_they_are(root, tmp_path):
    work = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\xff"))
    run(settings(root, work), ["ask"])
    assert os.fsencode(work) in (work / "flags.txt").read_bytes()


@pytest.mark.parametrize("content", ['{"format": 2, "stages": {"ask": 3}}', '{"format": 2, "left": [], "stages": {}}',
    '{"format": 2, "stages": {"ask": {"settings": {}, "inputs": {}, "made": {"x": 1}, "figures": {}}}}',
    '{"format": 2, "stages": {"ask": {"settings": {}, "inputs": {}, "made": {"x": []}, "figures": {}}}}'])  # fmt: skip
def test_a_damaged_record_is_one_sentence(root, tmp_path, content):
    work = tmp_path / "run"
    work.mkdir()
    (work / "stages.json").write_text(content)
    with pytest.raises(KdistillError, match="is not a record of stages"):
        run(settings(root, work))


def export_again(root, work):
    with run_gate._at_work(work):
        write_whole(work / "card.json", "with more checks")


def test_a_card_that_our_own_command_changed_leaves_all_done(root, tmp_path, caplog):
    work = tmp_path / "run"
    run(settings(root, work))
    export_again(root, work)
    caplog.set_level("INFO", logger="absl")
    run(settings(root, work))
    assert sum("already done" in one.getMessage() for one in caplog.records) == len(NAMES) - 3  # of space, assist, tune
    assert (work / "card.json").read_text() == "with more checks"


def test_a_card_that_somebody_changed_before_is_made_again(root, tmp_path):
    work = tmp_path / "run"
    run(settings(root, work))
    before = (work / "card.json").read_text()
    (work / "card.json").write_text("by hand")
    export_again(root, work)
    run(settings(root, work))
    assert (work / "card.json").read_text() == before


@pytest.mark.parametrize("command", [
    ["verify"], ["convert", "--precision=float16"], ["retriever"],
])  # fmt: skip
def test_a_command_of_export_waits_for_no_run_and_says_so(root, tmp_path, capsys, command):
    work = tmp_path / "run"
    run(settings(root, work))
    with Workdir(work).locked():
        assert export_main([command[0], f"--run={work}", *command[1:]]) == 1
    assert "another run" in capsys.readouterr().err


def test_a_gallery_of_another_student_makes_no_retriever(root, tmp_path):
    work = tmp_path / "run"
    run(settings(root, work))
    entries.check_read(work, "evaluate", "student.keras")
    (work / "student.keras").write_text("another")
    with pytest.raises(KdistillError, match=r"'evaluate' of .* was run before student\.keras changed"):
        entries.check_read(work, "evaluate", "student.keras")
    run(settings(root, work), ["ask", "distill"], redo=True)
    with pytest.raises(KdistillError, match=r"the stage 'evaluate' of .* is not done"):
        entries.check_read(work, "evaluate", "student.keras")


@pytest.mark.parametrize("command", ["verify", "retriever"])
@pytest.mark.parametrize("content", [None, "{}", '{"ask": {"settings": {"steps": "many"}, "finished": "2024"}}', "[1]"])
def test_commands_of_export_end_in_a_sentence_on_any_folder(tmp_path, capsys, command, content):
    (tmp_path / "student.keras").write_text("x")
    (tmp_path / "gallery.npz").write_text("x")
    if content is not None:
        (tmp_path / "stages.json").write_text(content)
    assert export_main([command, f"--run={tmp_path}"]) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("stage", [name for name in NAMES if name not in ("space", "assist", "tune")])
def test_a_folder_of_an_earlier_form_ends_in_a_sentence_and_can_be_run_again(root, tmp_path, stage):
    work = tmp_path / "run"
    work.mkdir()
    (work / "stages.json").write_text(json.dumps({name: {"settings": {"steps": 3}, "finished": "x"} for name in NAMES}))
    with pytest.raises(ArgumentError, match=r"the stage 'ask' of .* was run by an older version"):
        run(settings(root, work), [stage])
    run(settings(root, work), redo=True)
    assert figures(work)["queries"] == 3


@pytest.mark.parametrize(
    ("changes", "prepare", "words"),
    [
        ({"whiten": "pca", "whiten_dir": "empty"}, lambda root: (root / "empty").mkdir(), "holds no image"),
        ({"top_k": 7}, None, "--top_k=7, but the gallery has only 6 images"),
        ({"top_k": 3, "shards": 3}, None, "--shards=3 files of 6 images hold 2 each, less than --top_k=3"),
        ({}, lambda root: (root / "test.txt").write_text("test0.png, 1\ntest1.png\n"), "expected 'path, label'"),
        ({"val_file": "val.txt"}, lambda root: (root / "val.txt").write_text(""), "names no image"),
    ],
)  # fmt: skip
def test_what_later_stages_need_is_looked_at_before_anything_is_asked(root, tmp_path, changes, prepare, words):
    if prepare is not None:
        prepare(root)
    if "whiten_dir" in changes:
        changes = {**changes, "whiten_dir": str(root / changes["whiten_dir"])}
    with pytest.raises(KdistillError, match=words):
        run(settings(root, tmp_path / "run", **changes))
    assert not (tmp_path / "run" / "answers.npz").exists()
