"""The check of the built site finds what leads nowhere and what comes from outside."""

import importlib.util
import re

import pytest
from shown_blocks import REPOSITORY

GOOD = '<a href="two.html#here">x</a><img src="p.png"><a href="https://elsewhere.example">x</a><link rel="canonical" href="https://x">'


@pytest.fixture(scope="module")
def checker():
    spec = importlib.util.spec_from_file_location("check_site", REPOSITORY / "docs" / "hooks" / "check_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("addition", "fault"),
    [
        ("", None),
        ('<a href="three.html">x</a>', "one.html links to three.html, which is not there"),
        ('<a href="two.html#there">x</a>', "one.html links to two.html#there, which has no such anchor"),
        ('<a href="#top">x</a>', "one.html links to #top, which has no such anchor"),
        ('<img src="q.png">', "one.html links to q.png, which is not there"),
        ('<script src="https://cdn.example/x.js"></script>', "one.html loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "one.html loads //fonts.example/x.css"),
    ],
)
def test_each_fault_is_told(checker, tmp_path, addition, fault):
    (tmp_path / "one.html").write_text(GOOD + addition)
    (tmp_path / "two.html").write_text('<p id="here">')
    (tmp_path / "p.png").touch()
    assert checker.faults(tmp_path) == ([] if fault is None else [fault])


def test_every_page_of_docs_stands_in_the_navigation():
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"([\w/]+\.md)$", navigation, re.MULTILINE)
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert pages <= set(named)
    assert len(named) == len(set(named))


def test_figures_say_when_and_where_they_were_taken():
    page = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for path in (REPOSITORY / "benchmarks" / "results").glob("*.json"):
        (row,) = [line for line in page.splitlines() if f"results/{path.name})" in line]
        assert re.search(r"\| 20\d\d-\d\d-\d\d", row), path.name
