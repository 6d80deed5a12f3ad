"""The teacher's own row is paid for as every other question is, or it is not there."""

import json

import numpy as np
import PIL.Image
import pytest

import main
from kdistill.errors import ArgumentError
from kdistill.settings import Settings
from kdistill.teachers import Ledger

pytestmark = pytest.mark.long

STAGES = ["ask", "distill", "evaluate"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Photos in folders; the teacher `questions:embed` writes down what it is asked."""
    random = np.random.default_rng(0)
    for folder, count in (("pool", 12), ("gallery/a", 5), ("gallery/b", 5)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{number}.png")
    monkeypatch.setenv("QUESTIONS", str(tmp_path / "questions.txt"))
    return tmp_path / "photos"


def settings(photos, **changes) -> Settings:
    values = {
        "dataset": "folder",
        "data_dir": str(photos),
        "teacher": "questions:embed",
        "workdir": str(photos.parent / "run"),
        "query_budget": 6,
        "price_per_query": 0.5,
        "alpha": 0.25,
        "image_size": 16,
        "embedding_dim": 4,
        "augment": False,
        "steps": 2,
        "batch_size": 4,
        "mixtures": 2,
        "bank_size": 0,
        "export_if_not_better": True,
    }
    return Settings.of(**(values | changes))


def sent(photos) -> list[str]:
    file = photos.parent / "questions.txt"
    return file.read_text().split() if file.exists() else []


def metrics(photos) -> dict:
    return json.loads((photos.parent / "run" / "metrics.json").read_text())


def test_auto_asks_a_teacher_that_may_charge_about_nothing_more(photos):
    main.run_stages(settings(photos), STAGES, redo=False)
    assert len(sent(photos)) == metrics(photos)["queries"] == 6
    assert metrics(photos)["cost"] == 3.0
    assert [row["name"] for row in metrics(photos)["rows"]] == ["student", "untouched"]
    main.run_stages(settings(photos), STAGES, redo=True)
    assert len(sent(photos)) == 6


def test_its_row_goes_through_the_ledger_in_an_account_of_its_own(photos):
    paid = settings(photos, score_teacher="yes", scoring_budget=10)
    main.run_stages(paid, STAGES, redo=False)
    figures = metrics(photos)
    assert len(sent(photos)) == 16 == len(set(sent(photos))) + len(sent(photos)) - len(set(sent(photos)))
    assert (figures["queries"], figures["scoring_queries"]) == (6, 10)
    assert (figures["cost"], figures["scoring_cost"]) == (3.0, 5.0)
    assert figures["rows"][0]["name"] == "teacher"
    with Ledger(photos.parent / "run" / "ledger.sqlite") as ledger:
        accounts = ledger.summary().accounts
        assert {name: account.spent for name, account in accounts.items()} == {"learning": 6, "scoring": 10}
    main.run_stages(paid, STAGES, redo=True)
    assert len(sent(photos)) == 16, "an answer was paid for twice"


def test_a_budget_that_does_not_reach_asks_nothing(photos, caplog):
    main.run_stages(settings(photos, score_teacher="yes", scoring_budget=9), STAGES, redo=False)
    assert len(sent(photos)) == 6
    assert any("1 questions more than the --scoring_budget=9" in record.getMessage() for record in caplog.records)
    assert metrics(photos)["scoring_queries"] == 0


def test_without_a_budget_it_is_refused(photos):
    with pytest.raises(ArgumentError, match="--scoring_budget"):
        main.run_stages(settings(photos, score_teacher="yes"), STAGES, redo=False)
    with pytest.raises(ArgumentError, match="--scoring_budget"):
        main.run_stages(settings(photos, score_teacher="yes", teacher="http://127.0.0.1:9/x"), ["ask"], redo=False)


def test_a_dry_run_prices_both(photos, capsys):
    dry = settings(photos, score_teacher="yes", scoring_budget=10, dry_run=True)
    main.run_stages(dry, ["ask"], redo=False)
    learning, scoring = capsys.readouterr().out.splitlines()
    assert "6 to ask at a cost of 3.00" in learning
    assert "10 to ask at a cost of 5.00" in scoring
    assert not sent(photos)
    assert not (photos.parent / "run").exists()


def test_a_pool_that_grew_wastes_no_answer(photos):
    main.run_stages(settings(photos), ["ask"], redo=False)
    asked = set(sent(photos))
    for number in range(20):
        PIL.Image.fromarray(np.full((16, 16, 3), 10 * number, np.uint8)).save(photos / "pool" / f"new{number}.png")
    main.run_stages(settings(photos), ["ask", "distill"], redo=False)
    assert set(sent(photos)) == asked
    with np.load(photos.parent / "run" / "answers.npz") as answers:
        assert set(answers["ids"].tolist()) == asked
