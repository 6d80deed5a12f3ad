"""Embeds a folder or list of images into a matrix on disk, for galleries of any size.

    python -m kdistill.evaluation.embed --model=student.onnx --images=photos/ --output=gallery/

Stopped at any moment, the same command continues. Several processes or machines share the work by `--shard=0/4` ...
`--shard=3/4`, and `--merge=4` joins their files. The result is `embeddings.npy` (float32 [n, D], opened with
`np.load(mmap_mode="r")`) and `ids.txt`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kdistill.cluster.embedding import OpenFile, ray_parts
from kdistill.cluster.ray_engine import check_engine
from kdistill.console.keras_settings import check_keras_settings
from kdistill.data.decoding import MAX_MEGAPIXELS
from kdistill.data.images import ImageSet
from kdistill.data.layouts.folder import find_images
from kdistill.data.layouts.lists import read_list
from kdistill.errors import ArgumentError, KdistillError, run_command
from kdistill.evaluation.embed.job import embed_to_folder
from kdistill.evaluation.embed.parts import Parts
from kdistill.evaluation.embed.shards import JobResult, Shard, merge_shards
from kdistill.runtimes.digest import model_digest
from kdistill.runtimes.embedders import Embedder, open_embedder
from kdistill.runtimes.opening import SUFFIXES


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        check_keras_settings()
        if options.merge < 0:
            raise ArgumentError(f"--merge={options.merge} must be the number of shards, at least 1")
        result = merge_shards(options.output, options.merge) if options.merge else _embed(options)
    except KdistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    _print(result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kdistill.evaluation.embed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help=f"the student: {', '.join(SUFFIXES)}")
    parser.add_argument("--images", help="a folder, or a list file of paths relative to its own folder")
    parser.add_argument("--output", required=True, help="folder of the result")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="embed the I-th of N parts (from 0)")
    parser.add_argument("--merge", type=int, default=0, metavar="N", help="join the files of N finished shards")
    parser.add_argument("--batch_size", type=int, default=32, help="images in one call of the model")
    parser.add_argument("--engine", default="local", help="local (this process) or ray (a cluster)")
    parser.add_argument("--actors", type=int, default=0, help="ray: processes that embed; 0 for one a core")
    parser.add_argument(
        "--max_megapixels", type=float, default=MAX_MEGAPIXELS, help="million pixels that a photo may have"
    )
    parser.add_argument(
        "--trust_packages",
        default="",
        metavar="NAME,...",
        help="packages besides Keras whose classes a .keras file may be made of; they are imported",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first unreadable image")
    return parser


def _embed(options: argparse.Namespace) -> JobResult:
    if not options.model or not options.images:
        raise ArgumentError("--model and --images are needed to embed")
    if options.batch_size < 1:
        raise ArgumentError(f"--batch_size={options.batch_size} must be at least 1")
    check_engine(options.engine, options.actors)
    shard = _shard(options.shard)
    trusted = tuple(name.strip() for name in options.trust_packages.split(",") if name.strip())
    model = open_embedder(options.model, trusted=trusted)
    if not options.max_megapixels > 0:
        raise ArgumentError(f"--max_megapixels must be above 0; {options.max_megapixels} was given")
    images = _images(Path(options.images), options.max_megapixels)
    for image in images:
        if "\n" in image.id:
            raise KdistillError(f"the name {image.id!r} contains a line break, so it cannot stand in a list of ids")
    engine: Embedder | Parts = model
    if options.engine == "ray":
        engine = ray_parts(OpenFile.as_here(options.model, trusted), images, options.batch_size, actors=options.actors)
    return embed_to_folder(
        engine,
        images,
        options.output,
        fingerprint=model_digest(options.model),
        batch_size=options.batch_size,
        shard=shard,
        strict=options.strict,
    )


def _images(source: Path, max_megapixels: float) -> ImageSet:
    if source.is_dir():
        return find_images(source, max_megapixels=max_megapixels)
    return read_list(source.parent, source.name, labelled=False, max_megapixels=max_megapixels)


def _shard(text: str) -> Shard:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise ArgumentError(f"--shard={text} should look like 0/4")
    return Shard(int(index), int(count))


def _print(result: JobResult) -> None:
    if result.resumed_at:
        print(f"{result.resumed_at} images were done before")
    print(f"{result.rows} embeddings in {result.embeddings}, their ids in {result.ids}")
    if result.skipped:
        print(f"{len(result.skipped)} images could not be read:")
        for _, reason in result.skipped:
            print(f"  {reason}")


if __name__ == "__main__":
    run_command(main)
