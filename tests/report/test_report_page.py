"""The page as a browser's parser sees it: pictures, verdicts, tables, escaping, nothing from outside."""

import base64
import html.parser
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from kdistill.errors import KdistillError
from kdistill.report import Neighbour, NeighbourRow, Neighbours, write_report
from kdistill.report.headline import RULE
from kdistill.report.page import render_report
from kdistill.report.tables import MODEL_COLUMNS, make_table, size

VOID = {"meta", "img", "wbr"}


class Page(html.parser.HTMLParser):
    """Collects elements with their attributes and their ancestors' classes; fails on tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes, [name for _, name in self.open]))
        if tag not in VOID:
            self.open.append((tag, attributes.get("class") or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), [name for _, name in self.open]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if not data.strip():
            return
        if self.elements[-1][0] == "wbr":
            tag, before = self.texts.pop()
            self.texts.append((tag, before + data.strip()))
        else:
            self.texts.append((self.open[-1][0] if self.open else "", data.strip()))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def said(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def _pixels(value: int) -> np.ndarray:
    return np.full((40, 60, 3), value, np.uint8)


def _row(name: str, teacher: list[bool] | None, student: list[bool | None]) -> NeighbourRow:
    def column(rights):
        return [Neighbour(f"{name}-{i}", _pixels(10 * i), 0.9 - 0.1 * i, right) for i, right in enumerate(rights)]

    columns = {"student": column(student)}
    if teacher is not None:
        columns["teacher"] = column(teacher)
    return NeighbourRow(f"query/{name}", _pixels(200), "Apple", columns)


CONTENT: dict[str, Any] = {
    "title": "A run",
    "summary": {"dataset": "digits", "missing": None},
    "rows": [
        {"name": "teacher", "map": 0.8, "recall_at_1": 0.9, "queries": 0, "parameters": 1_234_567},
        {"name": "student", "map": 0.6, "recall_at_1": 0.7, "queries": 330, "parameters": 45_678},
        {"name": "untouched", "map": 0.5},
    ],
    "files": [
        {
            "name": "student.tflite",
            "bytes": 2_280_000,
            "map": 0.6,
            "cosine_mean": 1.0,
            "latency_ms_median": 1.9,
            "passed": True,
        },
        {"name": "student_int8.tflite", "bytes": 690_000, "map": 0.55, "latency_ms_median": 1.1, "passed": False},
    ],
    "history": [{"step": step, "loss": 1 / step, "val_map": step / 10} for step in range(1, 6)],
    "neighbours": Neighbours(
        queries=[_row("a", [True, False, True], [True, True, False]), _row("b", None, [False, None])]
    ),
    "flags": {"query_budget": 330, "loss": "rank"},
}

EMPTY: dict[str, Any] = {
    "title": "Nothing",
    "summary": {},
    "rows": [],
    "files": [],
    "history": [],
    "neighbours": Neighbours(),
    "flags": "",
}


def test_every_query_and_neighbour_is_a_picture_inside_the_page():
    page = Page(render_report(**CONTENT))
    pictures = page.named("img")
    assert len(pictures) == (1 + 6) + (1 + 2)
    for attributes in pictures:
        prefix, data = (attributes["src"] or "").split(",", 1)
        assert prefix == "data:image/jpeg;base64"
        with PIL.Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (60, 40)
        assert attributes["alt"]


def test_outline_sign_and_words_agree_with_right_and_wrong():
    page = Page(render_report(**CONTENT))
    verdicts = [a["class"] for a in page.named("li") if a.get("class")]
    # teacher before student, whatever the order of the dictionary
    assert verdicts == ["right", "wrong", "right", "right", "right", "wrong", "wrong", "unknown"]
    in_list = [(tag, a, above) for tag, a, above in page.elements if any(v in above for v in ("right", "wrong"))]
    spoken = [a["alt"].rsplit(", ", 1)[1] for tag, a, _ in in_list if tag == "img"]  # type: ignore[union-attr]
    assert spoken == [verdict for verdict in verdicts if verdict != "unknown"]
    signs = [text for text in page.said("span") if text in ("✓", "✗")]
    assert signs[2:] == ["✓", "✗", "✓", "✓", "✓", "✗", "✗"]  # the first two explain the signs


def test_colours_of_right_and_wrong_are_green_and_red_in_both_modes():
    style = Path(render_report.__code__.co_filename).with_name("report.css").read_text()
    for name, strongest in (("right", 1), ("wrong", 0)):
        colours = re.findall(rf"--{name}: #(\w{{6}});", style)
        assert len(colours) == 2  # light and dark
        for colour in colours:
            channels = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
            assert channels[strongest] == max(channels)
        assert re.search(rf"\.{name} img {{\s+outline-color: var\(--{name}\)", style)


def test_a_query_without_a_teacher_has_the_students_column_alone():
    page = Page(render_report(**CONTENT))
    assert page.said("h3") == ["teacher", "student", "student"]


def test_tables_show_queries_beside_quality_and_dashes_for_what_is_missing():
    page = Page(render_report(**CONTENT))
    cells = page.said("td")
    assert cells[:4] == ["0", "0.800", "0.900", "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"]
    assert cells[4:6] == ["330", "0.600"]
    assert cells[8:12] == ["–", "0.500", "–", "–"]
    assert "2.28 MB" in cells
    assert "690 kB" in cells


def test_a_column_appears_when_some_row_has_it():
    without = make_table([{"name": "a", "map": 0.5}], MODEL_COLUMNS, None)
    with_it = make_table([{"name": "a"}, {"name": "b", "recall_at_5": 0.25}], MODEL_COLUMNS, None)
    assert "recall@5" not in without.headings
    column = with_it.headings.index("recall@5")
    assert [cells[column] for _, _, cells in with_it.rows] == ["–", "0.250"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "", True])
def test_what_is_not_a_finite_number_is_a_dash(value: Any):
    table = make_table([{"name": "a", "map": value}], MODEL_COLUMNS, None)
    assert table.rows[0][2][table.headings.index("mAP")] == "–"


@pytest.mark.parametrize(("value", "text"), [(12, "12 B"), (1_500, "1.5 kB"), (2_345_678, "2.35 MB"), (3e9, "3 GB")])
def test_sizes(value: float, text: str):
    assert size(value) == text


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_hostile_names_are_text():
    neighbour = Neighbour(HOSTILE, _pixels(1), 0.5, True)
    page = Page(
        render_report(
            title=HOSTILE,
            summary={HOSTILE: HOSTILE},
            rows=[{"name": HOSTILE, "map": HOSTILE}],
            files=[{"name": HOSTILE, "bytes": 5, "map": 0.5, "latency_ms_median": 1.0}],
            history=[{"step": 1, "loss": HOSTILE}],
            neighbours=Neighbours(
                "teacher",
                [NeighbourRow(HOSTILE, _pixels(2), HOSTILE, {"teacher": [neighbour], "student": [neighbour]})],
                [NeighbourRow(HOSTILE, _pixels(2), "", {"student": [neighbour]}, 0.25)],
                [neighbour],
            ),
            verdict=HOSTILE,
            flags=HOSTILE,
        )
    )
    assert not page.named("script")
    assert all(src.startswith("data:image/jpeg") for src in (a["src"] or "" for a in page.named("img")))
    assert not any(name.startswith("on") for _, attributes, _ in page.elements for name in attributes)
    assert page.said("h1") == [HOSTILE]
    assert next(a["alt"] for a in page.named("img")) == f"query {HOSTILE}"


@pytest.mark.parametrize("content", [CONTENT, EMPTY], ids=["full", "empty"])
def test_nothing_is_loaded_from_outside(content: dict[str, Any]):
    text = render_report(**content)
    page = Page(text)
    assert not re.search(r"https?://|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", text))
    assert not {tag for tag, _, _ in page.elements} & {"link", "script", "iframe", "object", "embed", "base"}
    policies = [a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_file_names_may_be_broken_after_underscores():
    text = render_report(**CONTENT)
    assert '<th scope="row">student_<wbr>int8.tflite</th>' in text


def test_the_file_to_ship_is_named_with_the_rule():
    page = Page(render_report(**CONTENT))
    assert ("2.28 MB", "in student.tflite") in zip(page.said("span"), page.said("span")[1:], strict=False)
    assert RULE in page.said("p")
    assert not [text for text in Page(render_report(**EMPTY)).said("p") if "ship" in text]


def test_a_class_number_is_called_a_class():
    row = NeighbourRow("q", _pixels(1), "12", {})
    assert Page(render_report(**{**EMPTY, "neighbours": Neighbours(queries=[row])})).said("strong") == ["class 12"]


def test_empty_parts_say_so():
    page = Page(render_report(**EMPTY))
    assert not page.named("img")
    assert not page.named("svg")
    assert not page.named("table")
    assert len([text for text in page.said("p") if text.startswith("No ")]) == 5


def test_charts_are_drawn_with_one_mark_for_each_file():
    page = Page(render_report(**CONTENT))
    assert len(page.named("svg")) == 4
    assert len(page.named("polyline")) == 2
    assert len(page.named("circle")) == 2 * 2 + 2
    assert page.said("li") == ["student.tflite", "student_int8.tflite"] * 2


def test_flags_as_a_flagfile_or_as_names_and_values():
    assert Page(render_report(**CONTENT)).said("pre") == ["--loss=rank\n--query_budget=330"]
    assert Page(render_report(**{**CONTENT, "flags": "--a=1\n--b=<2>"})).said("pre") == ["--a=1\n--b=<2>"]


def test_the_page_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, **CONTENT)
    assert path.read_text(encoding="utf-8") == render_report(**CONTENT)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(KdistillError, match=r"taken.report\.html cannot be written"):
        write_report(tmp_path / "taken" / "report.html", **EMPTY)


def test_a_verdict_stands_first_and_a_bad_one_is_a_warning():
    good = Page(render_report(**{**CONTENT, "verdict": "The student is better."}))
    assert good.said("p")[1] == "The student is better."
    assert {"class": "verdict"} in good.named("p")
    bad = Page(render_report(**{**CONTENT, "verdict": "NOT BETTER: so it is."}))
    assert {"class": "verdict warning"} in bad.named("p")


def test_without_labels_overlap_is_shown_and_the_worst_queries_open_on_request():
    rows = [
        {"name": "student", "overlap_at_10": 0.5, "overlap_at_10_low": 0.4},
        {"name": "untouched", "overlap_at_10": 0.3},
    ]
    row = _row("a", [True, False], [True, False])
    worst = NeighbourRow("query/w", _pixels(1), "", row.columns, 0.1)
    odd = Neighbour("query/odd", _pixels(3), 0.2, None)
    content = {**EMPTY, "rows": rows, "neighbours": Neighbours("teacher", [row], [worst], [odd])}
    page = Page(render_report(**content))
    assert "overlap@10 with the teacher, from 0 to 1" in page.said("p")
    assert page.said("summary") == ["Where student and teacher disagree most", "Photos that are like no other"]
    assert "overlap 0.1" in page.said("span")
    assert page.said("th")[:4] == ["name", "queries spent", "mAP", "overlap@10"]
    inside = [classes for tag, attributes, classes in page.elements if attributes.get("alt") == "query query/w"]
    assert "worst" in inside[0]
