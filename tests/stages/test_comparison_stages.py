"""The main job with a teacher that compares: ask, distill, evaluate, and what it says when something is wrong."""

import json

import numpy as np
import pytest

import main
from benchmarks.teachers.selection import write_smoke_data
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import Settings
from kdistill.stages.asking.answers import comparisons
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger

pytestmark = pytest.mark.long

ASSISTANT = {"assistant_backbone": "small_cnn", "assistant_image_size": 32, "assistant_steps": 20}
PAIRS = {"teacher_answers": "pairs", "query_budget": 20, "pair_queries": 4, "candidates": 5}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_smoke_data(folder)
    return folder


def settings_of(photos, workdir, **changes) -> Settings:
    values = {
        "dataset": "lists",
        "data_dir": str(photos),
        "teacher": str(photos / "teacher_expert.npz"),
        "workdir": str(workdir),
        "teacher_answers": "order",
        "query_budget": 6,
        "candidates": 4,
        "embedding_dim": 8,
        "steps": 2,
        "batch_size": 8,
        "mixtures": 8,
        "evaluations": 1,
        "export_if_not_better": True,
    }
    return Settings.of(**(values | changes))


def spent(workdir) -> int:
    with Ledger(workdir / "ledger.sqlite") as ledger:
        return ledger.summary().spent


def test_orders_through_an_assistant(photos, tmp_path):
    settings = settings_of(photos, tmp_path, **ASSISTANT)
    main.run_stages(settings, ["ask", "assist", "distill", "evaluate"], redo=False)
    with np.load(tmp_path / "answers.npz") as answers:
        assert answers["query_ids"].shape == (6,)
        assert answers["candidate_ids"].shape == (6, 4)
        assert not (answers["candidate_ids"] == answers["query_ids"][:, None]).any()
        table = np.load(photos / "teacher_expert.npz")
        row = {name: vector for name, vector in zip(table["ids"].tolist(), table["embeddings"], strict=True)}
        for query, candidates in zip(answers["query_ids"], answers["candidate_ids"], strict=True):
            cosines = [float(row[query] @ row[name]) for name in candidates]
            assert cosines == sorted(cosines, reverse=True)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["queries"] == spent(tmp_path) == 6
    assert {line["name"] for line in metrics["rows"]} == {"teacher", "assistant", "student", "untouched"}
    # The same questions again cost nothing, also where the features must be made anew.
    (tmp_path / "assistant_features.npz").unlink()
    main.run_stages(settings, ["ask"], redo=True)
    assert spent(tmp_path) == 6


def test_orders_learned_by_the_student_itself(photos, tmp_path):
    main.run_stages(settings_of(photos, tmp_path, augment=False), ["ask", "distill"], redo=False)
    assert (tmp_path / "student.keras").exists()
    (line,) = (tmp_path / "history.jsonl").read_text().splitlines()
    # ListMLE of chance over three places: (log 3 + log 2 + log 1) / 3 = 0.60; an untrained student is near.
    assert 0.2 < json.loads(line)["loss"] < 1.5


def test_pairs_are_asked_both_ways_within_the_budget(photos, tmp_path):
    settings = settings_of(photos, tmp_path, **ASSISTANT, **PAIRS, pair_both_ways=True)
    main.run_stages(settings, ["ask", "assist", "distill"], redo=False)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    # 20 questions over 4 queries: 2.5 pairs both ways a query.
    assert spent(tmp_path) == metrics["queries"] == metrics["preferences"]["answers"] == 20
    assert metrics["preferences"]["both_ways"] == 10
    assert metrics["preferences"]["contradictions"] == metrics["preferences"]["cyclic_queries"] == 0
    assert (tmp_path / "student.keras").exists()


def test_a_dry_run_counts_comparisons_and_writes_nothing(photos, tmp_path, capsys):
    for changes, printed in (({}, "6 to ask at a cost of 3.00"), (PAIRS, "20 to ask at a cost of 10.00")):
        settings = settings_of(photos, tmp_path, dry_run=True, price_per_query=0.5, **{**ASSISTANT, **changes})
        main.run_stages(settings, ["ask"], redo=False)
        assert printed in capsys.readouterr().out
        assert not list(tmp_path.glob("*.npz"))
        assert not (tmp_path / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "ray"}, "asked with --engine=local"),
        ({"candidates": 17}, "2 to 15"),
        (PAIRS, "needs an assistant"),
        ({"query_budget": 17}, "only 16 images"),
        ({"candidates": 16}, "2 to 15"),
        ({**ASSISTANT, **PAIRS, "query_budget": 44}, "11 pairs were to be drawn of the 10"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(changes, message, photos, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        main.run_stages(settings_of(photos, tmp_path, **changes), ["ask"], redo=False)


def test_answers_of_another_kind_are_refused(photos, tmp_path):
    np.savez(tmp_path / "answers.npz", ids=np.array(["0.png"]), embeddings=np.zeros((1, 2), np.float32))
    with pytest.raises(KdistillError, match="no answers of the kind --teacher_answers=order"):
        comparisons(settings_of(photos, tmp_path, **ASSISTANT), Workdir(tmp_path))
