"""The headline's sentence, and the file to ship: passes the gate, then fastest, then smallest."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kdistill.report.headline import EQUALLY_FAST, RULE, file_to_ship, make_headline

ROWS = [
    {"name": "teacher", "map": 0.8, "queries": 0},
    {"name": "student", "map": 0.6, "queries": 330},
    {"name": "untouched", "map": 0.5},
]


def _file(name: str, *, size: int = 100, ms: float | None = 1.0, passed: bool = True) -> dict[str, Any]:
    return {"name": name, "bytes": size, "map": 0.5, "latency_ms_median": ms, "passed": passed}


def _name(*files: dict[str, Any]) -> str | None:
    chosen = file_to_ship(files)
    return None if chosen is None else chosen["name"]


def test_a_fast_file_goes_before_a_small_one():
    small, fast = _file("small.tflite", size=50, ms=0.58), _file("fast.tflite", size=100, ms=0.29)
    assert _name(small, fast) == "fast.tflite"


def test_of_files_that_are_equally_fast_the_smallest_is_taken():
    small, fast = _file("small.tflite", size=50, ms=0.30), _file("fast.tflite", size=100, ms=0.29)
    assert _name(small, fast) == "small.tflite"


def test_what_fails_the_gate_what_was_not_timed_and_what_is_no_students_file_is_passed_over():
    slow = _file("student.onnx", size=900, ms=9.0)
    others = [
        _file("student_int8.tflite", size=1, ms=0.1, passed=False),
        _file("student_float16.tflite", size=1, ms=None),
        _file("student.keras", size=1, ms=0.1),
        _file("retriever.tflite", size=1, ms=0.1),
    ]
    assert _name(*others, slow) == "student.onnx"


def test_the_smallest_where_none_was_timed_and_none_where_none_passes():
    large, small = _file("large.tflite", size=9, ms=None), _file("small.tflite", size=8, ms=None)
    assert _name(large, small) == "small.tflite"
    assert "none was timed" in make_headline([], small).rule
    assert _name(_file("a.tflite", passed=False)) is None
    assert _name() is None


@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.floats(0.01, 100), st.booleans()).map(
            lambda drawn: _file("a.tflite", size=drawn[0], ms=drawn[1], passed=drawn[2])
        ),
        max_size=8,
    )
)
def test_no_file_that_passes_is_better_by_the_rule(files: list[dict[str, Any]]):
    chosen = file_to_ship(files)
    good = [file for file in files if file["passed"]]
    assert (chosen is None) == (not good)
    for file in good:
        assert chosen is not None
        assert chosen["latency_ms_median"] <= file["latency_ms_median"] * (1 + EQUALLY_FAST)
        least = min(other["latency_ms_median"] for other in good)
        if file["latency_ms_median"] <= least * (1 + EQUALLY_FAST):
            assert chosen["bytes"] <= file["bytes"]


def test_headline_says_what_was_gained():
    headline = make_headline(ROWS, {"name": "student.tflite", "bytes": 2_280_000, "latency_ms_median": 1.9})
    assert headline.sentence == (
        "The student reaches 75% of the teacher's mAP, 0.100 above the same network before distillation."
    )
    assert headline.bars == [("untouched", "0.500", 50.0), ("student", "0.600", 60.0), ("teacher", "0.800", 80.0)]
    assert headline.tiles == [
        ("330", "queries to the teacher"),
        ("2.28 MB", "in student.tflite"),
        ("1.9 ms", "for one image, median"),
    ]
    assert headline.rule == RULE
    worse = make_headline([{"name": "student", "map": 0.4}, {"name": "untouched", "map": 0.5}], None)
    assert worse.sentence == "The student reaches mAP 0.400, 0.100 below the same network before distillation."
    assert worse.rule == ""
