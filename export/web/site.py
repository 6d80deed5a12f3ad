"""Writes the search page: a folder of static files for any web server."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from ai_edge_litert import schema_py_generated as schema

from export.formats.checks import check_tflite_search
from export.formats.flatbuffer import AlignedBuffer, write_model
from export.formats.graph import GraphBuilder
from export.formats.tflite import export_tflite
from export.retriever.gallery import build_gallery
from export.search.tflite_search import SearchGraph
from export.web import pictures, runtime
from kdistill import students
from kdistill.data import ImageSet
from kdistill.errors import ArgumentError
from kdistill.files.whole import json_text, whole_folder

STATIC = Path(__file__).with_name("static")

TALL_FIRST_SINCE = 13
"""Pillow's first major version that reduces the height of tall images first (its pull request 9549); another order
rounds otherwise, and the page must do what this machine's Pillow does."""

SHOWN = 10
"""Neighbours on the page."""

SAMPLES = 12
"""Photos that the page offers to try."""


def write_site(
    out_dir: str | Path,
    *,
    student: Any,
    gallery: ImageSet,
    embeddings: np.ndarray,
    queries: ImageSet | None = None,
    title: str = "Search by photo",
) -> None:
    """Writes a site from its parts.

    Args:
        out_dir: where the site goes; a site that is there is replaced when the new one is whole.
        student: Keras model, `image` uint8 [batch, S, S, 3] to `embedding` float32 [batch, D].
        gallery: G images that can be found.
        embeddings: float32 [G, D], the student's embeddings of the gallery.
        queries: images to take samples from; None takes them from the gallery, and each then leaves itself out.
        title: heading of the page.

    Raises:
        ArgumentError: `out_dir` holds something else than a site, or the embeddings are not those of the gallery.
        KdistillError: the model is no student, npm is missing, an image cannot be read, or the disk is full.
    """
    students.image_size(student)
    expected = [len(gallery), students.embedding_dim(student)]
    if not len(gallery) or list(np.shape(embeddings)) != expected:
        raise ArgumentError(
            f"a page of {len(gallery)} images takes embeddings {expected}, one row an image and at least one; these "
            f"have the shape {list(np.shape(embeddings))}"
        )
    if queries is not None and not len(queries):
        raise ArgumentError("there are no queries to take samples from; give None to take them from the gallery")
    out_dir = Path(out_dir)
    if out_dir.exists() and any(out_dir.iterdir()) and not (out_dir / "site.json").exists():
        raise ArgumentError(f"{out_dir} is not empty and holds no site; name another --out")
    modules = runtime.runtime_packages()
    with whole_folder(out_dir) as part:
        shutil.copytree(STATIC, part)
        _write_parts(part, modules, student, gallery, embeddings, queries, title)


def write_search(embeddings: np.ndarray, ids: Sequence[str], path: Path, *, k: int) -> None:
    """Writes a model with the gallery inside: `embedding` float32 [1, D] to `scores` and `ids` (rows) [1, k].

    Raises:
        KdistillError: bad embeddings or ids (see `build_gallery`), or the file does not find the nearest rows.
    """
    gallery = build_gallery(embeddings, ids)
    model = schema.ModelT(
        version=3, description="kdistill search", operatorCodes=[], subgraphs=[], buffers=[AlignedBuffer(data=None)]
    )
    search = SearchGraph(model, gallery, k)
    builder = GraphBuilder(model, "search")
    query = builder.input((1, embeddings.shape[1]), np.float32, "embedding")
    builder.finish(search.add(builder, query), ["embedding"], ["scores", "ids"])
    write_model(model, path, check=lambda file: check_tflite_search(file, str(path), gallery, k))


def _write_parts(
    site: Path,
    modules: Path,
    student: Any,
    gallery: ImageSet,
    embeddings: np.ndarray,
    queries: ImageSet | None,
    title: str,
) -> None:
    version = runtime.copy_runtime(modules, site)
    embedder, searcher = site / "embedder.tflite", site / "search.tflite"
    export_tflite(student, embedder, precision="float16")
    write_search(embeddings, gallery.ids, searcher, k=min(SHOWN + 1, len(gallery)))
    model = hashlib.sha256(embedder.read_bytes()).hexdigest()[:16]
    description = {
        "ids": gallery.ids,
        "names": [pictures.display_name(name) for name in gallery.ids],
        "thumbnails": {
            "per_pack": pictures.PER_PACK,
            "packs": [
                _store(site, "thumbnails", ".bin", pack) | {"offsets": offsets}
                for pack, offsets in pictures.thumbnail_packs(gallery)
            ],
        },
    }
    content = {
        "title": title,
        "model": model,
        "image_size": students.image_size(student),
        "tall_first": int(PIL.__version__.split(".")[0]) >= TALL_FIRST_SINCE,
        "shown": SHOWN,
        "gallery_size": len(gallery),
        "runtime": {"version": version, **{build: _store_build(site, modules, build) for build in runtime.BUILDS}},
        "embedder": _store_packed(site, "models", ".tflite", _taken(embedder)),
        "searcher": _store_packed(site, "models", ".tflite", _taken(searcher)),
        "gallery": _store_packed(site, "models", ".json", json_text(description).encode()),
        "samples": _store_samples(site, gallery, queries),
    }
    (site / "site.json").write_text(json_text(content, indent=1), encoding="utf-8")
    _write_version(site)


def _store(site: Path, folder: str, suffix: str, content: bytes) -> dict[str, Any]:
    """Stores bytes under a name made of their hash: the same name never means two contents, in any cache."""
    path = f"{folder}/{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    (site / folder).mkdir(exist_ok=True)
    (site / path).write_bytes(content)
    return {"path": path, "bytes": len(content)}


def _store_packed(site: Path, folder: str, suffix: str, content: bytes) -> dict[str, Any]:
    """Stores bytes gzipped: most simple web servers do not compress what they serve."""
    return _store(site, folder, f"{suffix}.gz", gzip.compress(content, compresslevel=9, mtime=0))


def _store_build(site: Path, modules: Path, build: str) -> dict[str, Any]:
    glue, wasm = runtime.build_files(modules, build)
    return {
        "glue": _store(site, "runtime", ".js", glue.read_bytes()),
        "wasm": _store_packed(site, "runtime", ".wasm", wasm.read_bytes()),
    }


def _store_samples(site: Path, gallery: ImageSet, queries: ImageSet | None) -> list[dict[str, Any]]:
    source = gallery if queries is None else queries
    chosen = [source[index] for index in pictures.choose_samples(source, SAMPLES)]
    rows = pictures.rows_of(gallery.ids, [image.id for image in chosen])
    samples = []
    for image, row in zip(chosen, rows, strict=True):
        content, suffix = pictures.sample_file(image)
        stored = _store(site, "samples", suffix, content)
        samples.append({"path": stored["path"], "name": pictures.display_name(image.id), "row": row})
    return samples


def _taken(path: Path) -> bytes:
    """Returns a file's bytes and removes it."""
    content = path.read_bytes()
    path.unlink()
    return content


def _write_version(site: Path) -> None:
    """Writes what the service worker stores at once: the page itself, under a version made of its bytes."""
    page = [path.name for path in STATIC.iterdir() if path.name != "sw.js"]
    shell = sorted([*page, "site.json", "runtime/litert.js", "runtime/wasm-utils.js"])
    digest = hashlib.sha256(b"".join((site / name).read_bytes() for name in [*shell, "sw.js"])).hexdigest()[:16]
    (site / "version.js").write_text(
        f"self.SITE_VERSION = {json.dumps(digest)};\nself.SITE_SHELL = {json.dumps(['./', *shell])};\n",
        encoding="utf-8",
    )
