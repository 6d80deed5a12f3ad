"""`python -m export publish --run=RUN --to=DIR`: gathers what is handed over, each file with its checksum."""

import shutil
from pathlib import Path
from typing import Any

from export.publish import checksums
from export.retriever.shards import shards_of
from export.retriever.sidecar import sidecar_path
from kdistill.errors import KdistillError
from kdistill.facts.brought import is_brought
from kdistill.files.whole import read_json_object, sha256_of, whole_folder, write_json, write_whole
from kdistill.report.headline import file_to_ship
from kdistill.settings.groups.student import StudentSettings
from kdistill.stages.backbone import named_backbone
from kdistill.stages.entries import check_read, settings_of

_EXAMPLES = Path(__file__).parents[1] / "examples" / "python"
_NEEDS = "ai-edge-litert\nonnxruntime\nnumpy\npillow\n"
_LICENCES = """# Licence notes

What is in this folder was made from four things, each of which may set terms. These notes are no legal advice.

- **Weights that the network started from**: {start}.
- **The teacher's answers**: {teacher}. Its terms of use say whether what is learned from its answers may be used as you
  intend to; terms of services often forbid models that compete with them.
- **Photos**: those that the student learned from, and the names of the gallery's photos in a retriever's `.json` file.
- **Programs**: `search.py` and `embed.py` are part of kdistill, under the Apache License, Version 2.0
  (https://www.apache.org/licenses/LICENSE-2.0). kdistill asks nothing of the models that it makes.
"""
_STARTS = {
    None: "none, it started at random",
    "imagenet": "those of Keras Applications (Apache-2.0), trained on ImageNet, whose photos are for research that is "
    "not commercial; whether that reaches a network trained on them is disputed",
}


def publish(run: Path, to: Path) -> list[Path]:
    """Writes the folder, whole or not at all, and returns its files.

    It holds the student's files and retrievers that passed the gate, `student.keras`, both cards, licence notes, sample
    code with what it needs, and checksums. No photo, no flag and no answer of the teacher is in it; a retriever's
    sidecar holds the names of the gallery's photos.

    Args:
        run: work folder of a run whose report is written.
        to: the folder; an older published one is replaced.

    Raises:
        KdistillError: the run lacks its card, a file differs from the card's checksum, or `to` holds something else.
    """
    if not run.is_dir():
        raise KdistillError(f"the run {str(run)!r} does not exist")
    for name, stage in (("card.json", "export"), ("README.md", "report"), ("student.keras", "distill")):
        if not (run / name).is_file():
            raise KdistillError(f"{run} holds no {name}; run its stage {stage} first (--stages={stage})")
    check_read(run, "export", "student.keras")
    if to.exists() and not (to / checksums.NAME).is_file() and (not to.is_dir() or any(to.iterdir())):
        raise KdistillError(f"{to} holds something else than a published folder; name another one")
    if to.resolve() in (run.resolve(), *run.resolve().parents):
        raise KdistillError(f"--to={to} is the run's own folder, or one around it; name another one")
    card = read_json_object(run / "card.json")
    passed = [entry for entry in card["files"] if entry["passed"]]
    if not passed:
        raise KdistillError(f"no file of {run} passed the quality gate, so there is nothing to publish")
    described = (run / "README.md").read_text(encoding="utf-8")
    unknown = [entry["name"] for entry in passed if entry["sha256"] not in described]
    if unknown:
        raise KdistillError(
            f"{run / 'README.md'} does not describe {unknown[0]}, which was exported since; run the stage report again "
            "(--stages=report --redo)"
        )
    settings = settings_of(run)
    with whole_folder(to) as folder:
        folder.mkdir(parents=True)
        for entry in passed:
            _copy(run, folder, entry)
        for name in ("student.keras", "README.md"):
            shutil.copyfile(run / name, folder / name)
        ship = file_to_ship(read_json_object(run / "metrics.json").get("files", []))
        write_json(folder / "card.json", {**card, "files": passed, "ship": None if ship is None else ship["name"]})
        for example in ("search.py", "embed.py"):
            shutil.copyfile(_EXAMPLES / example, folder / example)
        write_whole(folder / "requirements.txt", _NEEDS)
        start = _start(settings.student)
        write_whole(folder / "LICENCES.md", _LICENCES.format(start=start, teacher=card.get("teacher")))
        write_whole(folder / checksums.NAME, checksums.listed(folder))
    return sorted(to.iterdir())


def _start(student: StudentSettings) -> str:
    """Returns where the weights came from that the student started from."""
    weights, backbone = student.student_weights, named_backbone(student.backbone)
    brought = weights is None and is_brought(student.backbone)
    source = f"the network {backbone}" if brought else f"the file {Path(str(weights)).name}"
    asked = f"those of {source}; ask where it came from"
    return asked if brought else _STARTS.get(weights, asked)


def _copy(run: Path, folder: Path, entry: dict[str, Any]) -> None:
    """Copies a file of the card; a retriever with its sidecar and its further shards."""
    first = run / entry["name"]
    if not first.is_file() or sha256_of(first) != entry["sha256"]:
        raise KdistillError(f"{first} is not the file that {run / 'card.json'} describes; run the stage export again")
    files = [first]
    if entry["name"].startswith("retriever"):
        shards = shards_of(run / f"retriever{first.suffix}")
        files = [file for shard in shards for file in (shard, sidecar_path(shard))]
    for file in files:
        shutil.copyfile(file, folder / file.name)
