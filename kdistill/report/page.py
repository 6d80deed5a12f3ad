"""Puts a run's figures, curves and pictures into one HTML file that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from kdistill.files.whole import write_whole
from kdistill.report import charts, tables
from kdistill.report.headline import file_to_ship, make_headline
from kdistill.report.neighbours import Neighbours, picture
from kdistill.report.tables import number


def write_report(
    path: str | Path,
    *,
    title: str,
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    neighbours: Neighbours,
    flags: Mapping[str, Any] | str,
    verdict: str = "",
    trials: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the page; a reader never sees a half-written one.

    Args:
        path: where the page goes; its folder is made where it is missing.
        title: heading of the page.
        summary: label to value, shown as they are under the heading (dataset, teacher, image size, ...).
        rows: the `rows` of metrics.json; those named teacher, student and untouched make the headline.
        files: the `files` of metrics.json.
        history: one object for each record of training: `step` (or `epoch`), `loss`, `val_loss`, `val_map`,
            `val_recall_at_1`, `val_overlap_at_10`, each of which may be missing.
        neighbours: queries with what teacher and student found.
        flags: the run's flags, as a flagfile's text or name to value.
        verdict: whether the run helped, in a sentence; it stands first.
        trials: of tuning: `name`, `share_of_steps`, `overlap_at_10`, `chosen`.

    Raises:
        KdistillError: the file cannot be written.
    """
    page = render_report(
        title=title,
        summary=summary,
        rows=rows,
        files=files,
        history=history,
        neighbours=neighbours,
        flags=flags,
        verdict=verdict,
        trials=trials,
    )
    write_whole(Path(path), page)


def render_report(
    *,
    title: str,
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    neighbours: Neighbours,
    flags: Mapping[str, Any] | str,
    verdict: str = "",
    trials: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Returns the page's HTML; arguments as for `write_report`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"picture": picture, "breakable": breakable}
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    quality = {str(row.get("name")): number(row.get("map")) for row in rows}
    file = file_to_ship(files)
    return environment.get_template("report.html").render(
        title=title,
        style=markupsafe.Markup(style),
        summary=[(label, str(value)) for label, value in summary.items() if value is not None],
        verdict=verdict,
        headline=make_headline(rows, file),
        models=tables.make_table(rows, tables.MODEL_COLUMNS, tables.student_row(rows)),
        trials=tables.make_table(trials, tables.TRIAL_COLUMNS, next((t["name"] for t in trials if t["chosen"]), None)),
        files=tables.make_table(files, tables.FILE_COLUMNS, tables.name_of(file) if file else None),
        curves=_present(
            charts.line_chart("Training loss", history, {"loss": "training", "val_loss": "validation"}),
            charts.line_chart(
                "Quality on the way",
                history,
                {"val_map": "mAP", "val_recall_at_1": "recall@1", "val_overlap_at_10": "overlap@10 with the teacher"},
            ),
        ),
        trade_offs=_present(
            *(
                charts.trade_off_chart(
                    f"mAP against {what}",
                    unit,
                    [(tables.name_of(row), _scaled(row.get(key), scale), number(row.get("map"))) for row in files],
                    {"untouched": quality.get("untouched"), "teacher": quality.get("teacher")},
                )
                for what, unit, key, scale in (
                    ("size", "MB", "bytes", 1e-6),
                    ("latency", "ms, median", "latency_ms_median", 1.0),
                )
            )
        ),
        area=charts,
        neighbours=neighbours,
        flags=flags
        if isinstance(flags, str)
        else "\n".join(f"--{name}={_flag(flags[name])}" for name in sorted(flags)),
    )


def breakable(name: str) -> markupsafe.Markup:
    """Returns a name that may be broken after an underscore: file names have no spaces."""
    return markupsafe.escape(name).replace("_", markupsafe.Markup("_<wbr>"))


def _scaled(value: Any, scale: float) -> float | None:
    finite = number(value)
    return None if finite is None else finite * scale


def _present(*drawn: charts.Chart | None) -> list[charts.Chart]:
    return [chart for chart in drawn if chart is not None]


def _flag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
