"""`python -m kdistill.space project SPACE TABLE OUT`: vectors in the dimensions that a run keeps.

`map OLD NEW` says what a map from a teacher's old space to its new one keeps, and what asking again would buy.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, KdistillError, run_command
from kdistill.files.whole import write_arrays, write_json
from kdistill.space.projection import read_projection
from kdistill.teachers.providers.table import TableTeacher

COUNTS = (66, 165, 330, 660, 1320)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, 1 for a fault, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        _project(options) if options.command == "project" else _map(options)
    except KdistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kdistill.space", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    what = "write a teacher's vectors as a run in its space compares them: projected, of unit length"
    project = commands.add_parser("project", help=what, description=what)
    project.add_argument("space", type=Path, help="space.npz of the run")
    project.add_argument("table", type=Path, help="the teacher's vectors: .npz, .npy or .parquet, as for --teacher")
    project.add_argument("out", type=Path, help=".npz to write, with ids and embeddings")
    what = "say what a map from the old space to the new one keeps, by how many images are asked again"
    fitted = commands.add_parser("map", help=what, description=what)
    fitted.add_argument("old", type=Path, help="table of the old vectors")
    fitted.add_argument("new", type=Path, help="table of the new vectors of some of these images, or of all")
    fitted.add_argument("--asked", type=_counts, default=None, help="numbers of images, such as 66,330,1320")
    fitted.add_argument("--judges", type=int, default=100, help="images that search and are never fitted to")
    fitted.add_argument("--seed", type=int, default=0, help="of which images are which")
    fitted.add_argument("--json", type=Path, help="file to write the figures to")
    return parser


def _counts(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} are no whole numbers, such as 66,330") from error


def _project(options: argparse.Namespace) -> None:
    projection, table = read_projection(options.space), TableTeacher(options.table)
    if options.out.suffix != ".npz":
        raise ArgumentError(f"{options.out} does not end in .npz, the format that is written")
    write_arrays(options.out, ids=np.array(list(table.ids)), embeddings=projection.transform(table.vectors))
    size, dimension = projection.axes.shape
    print(f"{len(table.vectors)} vectors in {dimension} of {size} dimensions were written to {options.out}")


def _map(options: argparse.Namespace) -> None:
    with quiet():
        from kdistill.space.upgrade import pairs, what_maps_keep  # TensorFlow
    old, new = pairs(TableTeacher(options.old), TableTeacher(options.new))
    most = len(old) - options.judges
    counts = options.asked or [count for count in COUNTS if count <= most] or [max(2, most)]
    found = what_maps_keep(old, new, counts, judges=options.judges, seed=options.seed)
    print(f"{len(old)} images in both spaces, {options.judges} of them search; overlap@10 with the new space:")
    print(f"{'asked again':>12}  {'map':14}{'cosine':>8}{'mapped':>9}{'and asked':>11}")
    for one in found:
        print(f"{one.asked:12,d}  {one.name:14}{one.cosine:8.3f}{one.overlap:9.3f}{one.overlap_mixed:11.3f}")
    if options.json is not None:
        about = {"images": len(old), "judges": options.judges, "seed": options.seed}
        write_json(options.json, {**about, "kept": [dataclasses.asdict(one) for one in found]})


if __name__ == "__main__":
    run_command(main)
