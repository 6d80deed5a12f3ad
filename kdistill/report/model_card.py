"""The model card for people: `README.md` in the form that model hubs read (YAML front matter, then Markdown).

Form: https://huggingface.co/docs/hub/model-cards, and Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from kdistill.errors import one_line
from kdistill.files.whole import write_whole
from kdistill.report import snippets, tables
from kdistill.report.headline import file_to_ship, rule_of
from kdistill.report.tables import number
from kdistill.version import __version__

_EXACT_BYTES = tables.Column("bytes", "bytes", tables.count, always=True)
_COLUMNS = (
    *(_EXACT_BYTES if column.key == "bytes" else column for column in tables.FILE_COLUMNS),
    tables.Column("gate", "quality gate", str),
)


def write_model_card(
    path: str | Path,
    *,
    name: str,
    figures: Mapping[str, Any],
    card: Mapping[str, Any] | None,
    facts: Mapping[str, Mapping[str, Any]],
) -> None:
    """Writes the card; a reader never sees a half-written one.

    Args:
        path: where it goes.
        name: of the run.
        figures: what stands in `metrics.json`.
        card: what stands in `card.json`; None where nothing was exported.
        facts: "asked", "data", "network": what stands in the tables of these sections, label to value; None is left
            out. "start": {"weights": where the network's weights came from}.

    Raises:
        KdistillError: the file cannot be written.
    """
    write_whole(Path(path), render_model_card(name=name, figures=figures, card=card, facts=facts))


def render_model_card(
    *,
    name: str,
    figures: Mapping[str, Any],
    card: Mapping[str, Any] | None,
    facts: Mapping[str, Mapping[str, Any]],
) -> str:
    """Returns the card's text; arguments as for `write_model_card`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"text": markdown_text, "json": _json}
    rows, files = figures.get("rows", []), figures.get("files", [])
    shipped = file_to_ship(files)
    ship = None if shipped is None else str(shipped["name"])
    size = int(card["input"]["size"]) if card else 0
    return environment.get_template("model_card.md").render(
        front_matter=front_matter(name, figures),
        title=name,
        version=__version__,
        card=card,
        **{section: _known(facts.get(section, {})) for section in ("asked", "data", "network")},
        start=facts.get("start", {}).get("weights"),
        models=tables.make_table(rows, tables.MODEL_COLUMNS, tables.student_row(rows)),
        how_taken=_how_taken(figures),
        files=tables.make_table([{**row, "gate": _gate(row)} for row in files], _COLUMNS, ship),
        ship=ship,
        rule=rule_of(shipped),
        sample=_sample(figures.get("files_sample")),
        machine=f"{platform.machine()}, {platform.system()}",
        sums=[(row["name"], row["sha256"]) for row in files if row.get("sha256")],
        snippet=snippets.snippet(ship, size) if ship else "",
        packages=snippets.packages(ship) if ship else "",
    )


def front_matter(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what model hubs index, by its YAML name."""
    found: dict[str, Any] = {
        "library_name": "keras",
        "pipeline_tag": "image-feature-extraction",
        "license": "other",
        "license_name": "follows-from-photos-teacher-and-weights",
        "tags": ["image-retrieval", "knowledge-distillation", "kdistill", "litert", "onnx"],
    }
    rows = figures.get("rows", [])
    student: Mapping[str, Any] = next((row for row in rows if row.get("name") == tables.student_row(rows)), {})
    metrics = [
        {"type": key, "name": heading, "value": round(value, 4)}
        for key, heading in (("map", "mAP"), ("recall_at_1", "recall@1"))
        if (value := number(student.get(key))) is not None
    ]
    if metrics:
        dataset = str(figures.get("dataset", name))
        result = {
            "task": {"type": "image-feature-extraction", "name": "image retrieval"},
            "dataset": {"type": dataset, "name": dataset},
            "metrics": metrics,
        }
        found["model-index"] = [{"name": name, "results": [result]}]
    return found


def markdown_text(value: Any) -> str:
    """Returns a text that Markdown shows as it is, on one line, in a table's cell too."""
    plain = one_line(value).replace("&", "&amp;")
    for sign in "<|~":
        plain = plain.replace(sign, f"&#{ord(sign)};")
    # An underscore inside a word stands for itself.
    return re.sub(r"[\\`*\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#>+-]", r"\\\g<0>", plain)


def _json(value: Any) -> str:
    """Returns YAML, of which JSON is a part; what YAML takes for the end of a line is escaped."""
    return json.dumps(value)


def _known(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(label, str(value)) for label, value in facts.items() if value not in (None, "")]


def _gate(row: Mapping[str, Any]) -> str:
    if "passed" not in row:
        return "not exported"
    return "passed" if row["passed"] else f"failed: {row.get('reason')}"


def _how_taken(figures: Mapping[str, Any]) -> str:
    gallery, searches = figures.get("gallery"), figures.get("searches")
    if gallery is None:
        return "How these were taken is not known."
    what = f"over all {gallery:,} images of the gallery, exactly"
    taken = f"Taken {what}" + (f", with {searches:,} searches." if searches is not None else ".")
    if figures.get("held_out"):
        taken += (
            f" overlap@10 and what follows it compare neighbours with the teacher's among {figures['held_out']:,} "
            "photos that were held out, with a 95 % interval by bootstrap; they also chose the student among eight on "
            "the way."
        )
    verdict = figures.get("verdict", {}).get("sentence", "")
    return f"{taken} {verdict}".rstrip()


def _sample(sample: Mapping[str, Any] | None) -> str:
    if not sample:
        return "images of the run"
    images, whole = sample["images"], sample["whole_gallery"]
    queries = f", {sample['queries']:,} of them queries" if sample.get("queries") else ""
    return f"{images:,} images{queries}, of a gallery of {whole:,}"
