"""`python -m kdistill.teachers try` and `form`: one question with consent, and what is told of it."""

import io
import json
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from mock_services import KEY, MOCKS, MockService, send

from kdistill.teachers import Ledger
from kdistill.teachers.__main__ import main
from kdistill.teachers.services.forms.form import form_text, shipped


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    PIL.Image.fromarray(np.full((6, 5, 3), (30, 60, 90), np.uint8)).save(path)
    return path


def arguments(service, photo, *more: str) -> list[str]:
    spoken = ["--teacher_api=jina", "--teacher_model=m", "--teacher_headers=Authorization=TEACHER_KEY"]
    return ["try", service.url, str(photo), *spoken, *more]


def test_it_tells_dimension_norm_and_what_was_sent(service, photo, capsys):
    assert main(arguments(service, photo, "--yes", "--price_per_query=0.25")) == 0
    told = capsys.readouterr().out
    assert "dimension 3\n" in told
    assert f"{np.linalg.norm([30, 60, 90]):.6g}" in told
    assert "cost      0.25" in told
    assert f"POST {service.url}\n" in told
    assert '"model": "m"' in told
    assert KEY not in told
    assert len(service.asked) == 1


def test_without_consent_nothing_is_sent(service, photo, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # no terminal
    assert main(arguments(service, photo)) == 2
    assert "give --yes" in capsys.readouterr().err
    assert service.bodies == []


@pytest.mark.parametrize(("reply", "asked"), [("y", 1), ("Yes ", 1), ("", 0), ("no", 0)])
def test_a_terminal_is_asked(reply, asked, service, photo, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(reply + "\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert main(arguments(service, photo)) == (0 if asked else 2)
    assert len(service.bodies) == asked


def test_an_answer_in_a_ledger_is_paid_once(service, photo, tmp_path, capsys):
    named = arguments(service, photo, "--yes", f"--ledger={tmp_path / 'ledger.sqlite'}", "--price_per_query=2")
    assert main(named) == main(named) == 0
    assert len(service.asked) == 1
    assert "nothing: the ledger had the answer" in capsys.readouterr().out
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        summary = ledger.summary()
    assert (summary.answered, summary.accounts["trying"].spent, summary.cost) == (1, 1, 2.0)


def test_faults_are_one_sentence_without_the_key(service, photo, tmp_path, capsys):
    service.script = [lambda handler, vectors: send(handler, 401, {"detail": f"no such key {KEY}"})]
    assert main(arguments(service, photo, "--yes")) == 1
    assert main(["try", service.url, str(photo), "--teacher_api=jina", "--yes"]) == 2
    assert main(arguments(service, tmp_path / "none.png", "--yes")) == 1
    assert main([*arguments(service, photo, "--yes"), "--teacher_pooling=max"]) == 2
    assert main([*arguments(service, photo, "--yes"), "--price_per_query=nan"]) == 2
    told = capsys.readouterr().err
    assert told.count("error: ") == 5
    assert KEY not in told


def test_a_table_needs_no_consent(photo, tmp_path, capsys):
    np.savez(tmp_path / "t.npz", ids=np.array([str(photo)]), embeddings=np.ones((1, 4), np.float32))
    assert main(["try", str(tmp_path / "t.npz"), str(photo)]) == 0
    assert "dimension 4" in capsys.readouterr().out


def test_teachers_that_compare_take_several_photos(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    others = [tmp_path / f"{name}.png" for name in "ab"]
    for level, path in enumerate(others):
        PIL.Image.fromarray(np.full((6, 5, 3), 100 * level + 40, np.uint8)).save(path)
    form = {
        "asks": "order",
        "request": {"query": "{query.base64}", "photos": [{"$each": "{base64}"}]},
        "answer": {"scores": "scores[]"},
    }
    (tmp_path / "form.json").write_text(json.dumps(form))
    schema = {"query": lambda text: True, "photos": [lambda text: True]}
    monkeypatch.setitem(
        MOCKS, "order", ("/rank", schema, lambda b: [b["query"], *b["photos"]], lambda v: {"scores": [0.1, 0.9]}, {})
    )
    service = MockService("order")
    try:
        command = ["try", service.url, f"--teacher_api={tmp_path / 'form.json'}", "--yes"]
        assert main([*command, str(photo), *map(str, others)]) == 0
        assert main([*command, str(photo)]) == 2
    finally:
        service.close()
    told = capsys.readouterr()
    assert f"order     {others[1]}, {others[0]}" in told.out
    assert "give a query and two photos or more" in told.err


@pytest.mark.parametrize("form", shipped())
def test_a_shipped_form_can_be_printed(form, capsys):
    assert main(["form", form]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(form_text(form))


def test_the_command_runs_without_tensorflow():
    code = "import sys, kdistill.teachers.__main__; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
