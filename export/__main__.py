"""`python -m export COMMAND`: exported files checked, made and changed, without running the pipeline again."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.formats.input_twins import INPUTS, write_twin
from export.handover import files as handover
from export.handover import milvus
from export.publish.folder import publish
from export.retriever.apart import take_apart
from export.retriever.gallery import PRECISIONS, joined
from export.retriever.shards import INT8_ROWS, shards_of
from export.retriever.update import read_retriever, update_retriever
from export.web import command as web
from kdistill.console.keras_settings import check_keras_settings
from kdistill.console.quiet import quiet
from kdistill.data.images import text_of
from kdistill.errors import KdistillError, run_command
from kdistill.files.archives import load_arrays, texts
from kdistill.space.projection import read_projection

_HAMMING = {"hamming": "binary"}
"""What users call a search by codes, and how our files call it."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except KdistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def _verify(arguments: argparse.Namespace) -> int:
    check_keras_settings()
    with quiet():
        from export.gate.run_gate import verify_run  # TensorFlow
    return verify_run(arguments.run, arguments.max_map_drop, arguments.min_cosine, arguments.resizers, arguments.json)


def _convert(arguments: argparse.Namespace) -> int:
    check_keras_settings()
    with quiet():
        from export.gate.run_gate import convert_run  # TensorFlow
    return convert_run(arguments.run, arguments.precision, arguments.format)


def _retriever(arguments: argparse.Namespace) -> int:
    check_keras_settings()
    with quiet():
        from export.gate.run_gate import build_run_retriever  # TensorFlow
    return build_run_retriever(
        arguments.run,
        precision=_HAMMING.get(arguments.precision, arguments.precision),
        file_format=arguments.format,
        shards=arguments.shards,
        k=arguments.top_k,
        out=arguments.out,
    )


def _add(arguments: argparse.Namespace) -> int:
    source = _one_file(arguments.retriever)
    ids, embeddings = _read_embeddings(arguments.embeddings)
    if arguments.space is not None:
        embeddings = read_projection(arguments.space).transform(embeddings)
    update_retriever(source, arguments.out or source, embeddings=embeddings, ids=ids)
    print(f"{len(ids)} rows were added")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    source = _one_file(arguments.retriever)
    ids = {text_of(name) for name in arguments.ids}
    update_retriever(source, arguments.out or source, remove=ids)
    print(f"{len(ids)} rows were removed")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    files = publish(arguments.run, arguments.to)
    for file in files:
        print(f"{file.stat().st_size:12,d}  {file.name}")
    print(f"{len(files)} files are in {arguments.to}; what they are says its README.md")
    return 0


def _twin(arguments: argparse.Namespace) -> int:
    source = arguments.file
    out = arguments.out or source.with_name(f"{source.stem}_{arguments.input}_input.tflite")
    write_twin(source, out, arguments.input)
    print(f"{out} takes {arguments.input} pixels of 0..255 and answers as {source}")
    return 0


def _apart(arguments: argparse.Namespace) -> int:
    embed, search = take_apart(_one_file(arguments.retriever), arguments.to)
    print(f"{embed} embeds, {search} searches")
    return 0


def _one_file(path: Path) -> Path:
    files = shards_of(path)
    if len(files) > 1:
        raise KdistillError(
            f"{path} lies in {len(files)} shards, and rows are added and removed in one file: name the shard, "
            f"such as {files[-1].name}"
        )
    return files[0]


def _hand_over(arguments: argparse.Namespace) -> int:
    gallery = joined([read_retriever(file)[1] for file in shards_of(arguments.retriever)])
    if arguments.to == "milvus":
        recall = milvus.hand_over(gallery, arguments.out, arguments.collection, index=arguments.index)
        print(f"recall@10 against the exact search: {recall:.4f}")
    elif arguments.to == "parquet":
        handover.to_parquet(gallery, arguments.out)
    else:
        build = handover.to_faiss if arguments.to == "faiss" else handover.to_usearch
        handover.write_index(build(gallery), arguments.out)
    unit = "bits" if gallery.holds_codes else "dimensions"
    print(f"{len(gallery.ids)} rows of {gallery.dimension} {unit} were written to {arguments.out}")
    return 0


def _read_embeddings(path: Path) -> tuple[list[str], np.ndarray]:
    ids, embeddings = load_arrays(path, ("ids", "embeddings"))
    try:
        return [text_of(name) for name in texts(ids)], np.asarray(embeddings, np.float32)
    except (ValueError, TypeError) as error:
        raise KdistillError(f"{path} is not an .npz file with `ids` and `embeddings`: {error}") from error


def _limit(text: str) -> tuple[str, float]:
    precision, _, points = text.partition("=")
    try:
        return precision, float(points)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not PRECISION=POINTS, such as int8=1.5") from error


def _shards(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of files nor auto") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=run)
        return added

    verify = command("verify", _verify, "Check every exported file of a run; one that fails loses its name.")
    verify.add_argument("--run", type=Path, required=True, help="work folder of the run")
    verify.add_argument(
        "--max_map_drop",
        type=_limit,
        nargs="+",
        default=[],
        metavar="PRECISION=POINTS",
        help="points of mAP that files of a precision may lose, such as int8=1.5",
    )
    verify.add_argument("--min_cosine", type=float, help="least cosine to the Keras student, for any image")
    verify.add_argument("--resizers", action="store_true", help="also measure each pair of resizers")
    verify.add_argument("--json", type=Path, help="where to write the report")

    convert = command("convert", _convert, "Write one more file of a run's student, and check it.")
    convert.add_argument("--run", type=Path, required=True, help="work folder of the run")
    precisions = "float32, float16, int8; tflite also: dynamic_int8, int8_float_head"
    convert.add_argument("--precision", required=True, help=precisions)
    convert.add_argument("--format", choices=["tflite", "onnx"], default="tflite")

    retriever = command("retriever", _retriever, "Write a retriever of a run's student and gallery, and check it.")
    retriever.add_argument("--run", type=Path, required=True, help="work folder of the run, evaluated")
    retriever.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS, *_HAMMING],
        default="auto",
        help=f"how the gallery is stored; auto: codes of a student that makes them, else int8 from {INT8_ROWS:,} rows "
        "on, else float32; asymmetric: codes searched by embeddings; binary or hamming: codes searched by codes",
    )
    retriever.add_argument("--format", choices=["tflite", "onnx"], default="tflite")
    retriever.add_argument(
        "--shards", type=_shards, default="auto", help="files to spread the gallery over; auto: as few as can hold it"
    )
    retriever.add_argument("--top_k", "--k", type=int, help="neighbours in an answer; default: those of the run")
    retriever.add_argument("--out", type=Path, help="where to write; default: retriever.FORMAT in the run's folder")

    published = command("publish", _publish, "Gather what an app team needs: files, card, notes, code, checksums.")
    published.add_argument("--run", type=Path, required=True, help="work folder of a run, reported")
    published.add_argument("--to", type=Path, required=True, help="the folder; an older published one is replaced")

    twin = command("twin", _twin, "Write a .tflite file that takes float32 or int8 pixels instead of uint8.")
    twin.add_argument("--file", type=Path, required=True, help="a student or a retriever, exported by this program")
    twin.add_argument("--input", choices=INPUTS[1:], required=True, help="type of the pixels; of 0..255 as before")
    twin.add_argument("--out", type=Path, help="where to write; default: NAME_INPUT_input.tflite beside it")

    apart = command("apart", _apart, "Write a retriever as two files, one that embeds and one that searches.")
    apart.add_argument("--retriever", type=Path, required=True, help="the .tflite or .onnx file")
    apart.add_argument("--to", type=Path, required=True, help="folder for embed and search")

    web.add_arguments(command("web", web.run, web.DESCRIPTION))

    for name, run, text in (
        ("add", _add, "Add rows to a retriever."),
        ("remove", _remove, "Remove rows from a retriever."),
        ("handover", _hand_over, "Write a retriever's gallery for another search tool."),
    ):
        added = command(name, run, text)
        added.add_argument(
            "--retriever", type=Path, required=True, help="the .tflite or .onnx file (for NAME-0, NAME-1, ...: NAME)"
        )
        if name == "handover":
            added.add_argument("--to", choices=["faiss", "usearch", "parquet", "milvus"], required=True)
            added.add_argument("--out", required=True, help="file; milvus: http://HOST:PORT, or a folder NAME.db")
            added.add_argument("--collection", default="gallery", help="milvus: name of the collection to make")
            added.add_argument("--index", choices=milvus.INDEXES, default="FLAT", help="milvus: kind of index")
            continue
        added.add_argument("--out", type=Path, help="where to write; default: the same file")
        if name == "add":
            added.add_argument("--embeddings", type=Path, required=True, help=".npz with ids [n] and embeddings [n, D]")
            about = "space.npz of a run in the teacher's space, which brings there the teacher's own embeddings"
            added.add_argument("--space", type=Path, help=about)
        else:
            added.add_argument("--ids", nargs="+", required=True, help="names of the rows")
    return parser


if __name__ == "__main__":
    run_command(main)
