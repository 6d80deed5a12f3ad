"""Coordinates against the values they stand for; ticks are round and inside; labels keep apart."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kdistill.report import charts


def test_linear_axis_places_ends_and_middle():
    axis = charts.Axis([2.0, 6.0], 100.0, 300.0)
    assert [axis.place(value) for value in (2.0, 4.0, 6.0)] == [100.0, 200.0, 300.0]


def test_log_axis_places_equal_ratios_equally_far():
    axis = charts.Axis([1.0, 100.0], 0.0, 10.0, log=True)
    assert [axis.place(value) for value in (1.0, 10.0, 100.0)] == [0.0, 5.0, 10.0]


def test_ticks_of_a_known_range():
    assert [tick.text for tick in charts.Axis([0.0, 1.0], 0, 1).ticks()] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [tick.text for tick in charts.Axis([1.0, 1000.0], 0, 1, log=True).ticks()] == [
        "1",
        "10",
        "100",
        "1\N{NARROW NO-BREAK SPACE}000",
    ]


@given(
    low=st.floats(1e-4, 1e6),
    factor=st.floats(1.0, 1e4),
    log=st.booleans(),
)
@example(low=450360.0, factor=1.0000000000000002, log=False)
def test_every_axis_has_ticks_inside_it(low: float, factor: float, log: bool):
    axis = charts.Axis([low, low * factor], 50.0, 400.0, log=log)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 14
    assert all(49.9 <= tick.at <= 400.1 for tick in ticks)
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)


def test_line_chart_keeps_values_in_order_and_skips_what_is_not_a_number():
    history = [
        {"step": 2, "loss": 1.0},
        {"step": 1, "loss": 3.0},
        {"step": 3, "loss": math.nan},
        {"step": 4, "val_loss": 2.0},
        {"step": 5, "loss": None},
    ]
    chart = charts.line_chart("t", history, {"loss": "training", "val_loss": "validation"})
    assert chart is not None
    (line,) = chart.series  # one value is not a curve
    assert line.name == "training"
    assert line.last_text == "1"
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line.points.split(" "))
    assert (x1, x2) == (charts.LEFT, charts.RIGHT)
    assert charts.TOP < y1 < y2 < charts.BOTTOM  # the larger value stands higher


@pytest.mark.parametrize(("entries", "label"), [([{"epoch": 1}, {"epoch": 2}], "epoch"), ([{}, {}], "record")])
def test_line_chart_without_steps_uses_epochs_or_positions(entries: list[dict], label: str):
    chart = charts.line_chart("t", [{**entry, "loss": 1.0} for entry in entries], {"loss": "training"})
    assert chart is not None
    assert chart.x_label == label


def test_a_long_curve_is_thinned_and_keeps_its_end():
    history = [{"step": step, "loss": float(step)} for step in range(20_001)]
    chart = charts.line_chart("t", history, {"loss": "training"})
    assert chart is not None
    assert len(chart.series[0].points.split(" ")) <= charts.MOST_POINTS
    assert chart.series[0].last_text == "2e+04"


def test_no_values_no_chart():
    assert charts.line_chart("t", [], {"loss": "training"}) is None
    assert charts.trade_off_chart("t", "MB", [("a", None, 0.5), ("b", 1.0, None), ("c", 0.0, 0.5)], {}) is None


def test_trade_off_chart_numbers_follow_the_files_and_levels_are_drawn():
    chart = charts.trade_off_chart(
        "t", "MB", [("a", 4.0, 0.7), ("lost", None, 0.7), ("c", 1.0, 0.6)], {"teacher": 0.9, "untouched": None}
    )
    assert chart is not None
    assert [(mark.name, mark.number) for mark in chart.marks] == [("a", 1), ("c", 3)]
    large, small = chart.marks
    assert small.x < large.x
    assert small.y > large.y
    assert [level.name for level in chart.levels] == ["teacher"]
    assert chart.levels[0].y < large.y


@given(st.lists(st.tuples(st.floats(0.1, 100.0), st.floats(0.0, 1.0)), min_size=1, max_size=6))
def test_numbers_stay_inside_the_drawing(files: list[tuple[float, float]]):
    chart = charts.trade_off_chart("t", "MB", [(str(i), cost, q) for i, (cost, q) in enumerate(files)], {})
    assert chart is not None
    for mark in chart.marks:
        assert charts.LEFT <= mark.label_x <= charts.RIGHT
        assert charts.TOP <= mark.label_y <= charts.BOTTOM


def test_numbers_of_two_equal_files_do_not_touch():
    chart = charts.trade_off_chart("t", "MB", [("a", 1.0, 0.5), ("b", 1.0, 0.5), ("c", 1.0, 0.5)], {})
    assert chart is not None
    places = [(mark.label_x, mark.label_y) for mark in chart.marks]
    gaps = [math.dist(a, b) for i, a in enumerate(places) for b in places[:i]]
    assert min(gaps) >= charts.LABEL_ROOM - 0.05
