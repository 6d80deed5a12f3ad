"""Every converted file is opened and run before it gets its name: what a runtime refuses or gets wrong is no file.

Converters go wrong in silence: inputs that nobody asked for, an output of another name or shape, weights that went
astray. The quality gate judges files by retrieval on the run's images; here it is whether they are the student at all.
One file and long, since the formats share what is promised of them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from export.formats.tensor_facts import (
    Facts,
    compare,
    embedding_facts,
    image_facts,
    named_facts,
    onnx_facts,
    tflite_facts,
)
from export.retriever.gallery import Gallery
from kdistill.console.quiet import quiet
from kdistill.errors import KdistillError, first_line
from kdistill.runtimes.inputs import quantised
from kdistill.runtimes.onnx import open_onnx
from kdistill.runtimes.tflite import open_tflite, tensor_input

LEAST_COSINE = {"float32": 0.99, "float16": 0.99}
"""Least cosine to the Keras student for a few images; one byte a weight may cost more, which the gate measures."""
LEAST_COSINE_BYTES = 0.5
NORM_TOLERANCE = 0.05
SCORE_TOLERANCE = {"float32": 1e-4, "float16": 2e-3, "int8": 2e-3}
_PROBES = 3
_BLOCK = 65536

Reference = tuple[np.ndarray, np.ndarray]
"""A few images uint8 [n, S, S, 3], and what the Keras student makes of them, float32 [n, D]."""


def probe_images(size: int) -> np.ndarray:
    """Returns uint8 [3, S, S, 3]: colours that change as smoothly as in photos, with a little noise."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, size)
    pixels = np.empty((_PROBES, size, size, 3))
    for image in pixels:
        for channel in range(3):
            across, down, phase = rng.uniform(-9, 9), rng.uniform(-9, 9), rng.uniform(0, 6)
            image[..., channel] = 128 + 90 * np.sin(across * ramp[None, :] + down * ramp[:, None] + phase)
    return np.clip(pixels + rng.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)


def reference_of(student: Any, images: np.ndarray | None = None) -> Reference:
    """Returns what the files of a Keras student are compared with: on these images, or on made ones (None).

    Raises:
        KdistillError: no student (see `students.image_size`), or its embeddings are not finite.
    """
    from kdistill import students  # TensorFlow, which a retriever's own commands do without

    if images is None:
        images = probe_images(students.image_size(student))
    with quiet():  # TensorFlow warns of networks that it compiles in many pieces
        expected = np.asarray(student(images, training=False), np.float32)
    if not np.isfinite(expected).all():
        raise KdistillError(
            f"the student {student.name!r} gives embeddings that are not finite; there is no use for it"
        )
    return images, expected


def check_tflite_student(path: Path, name: str, reference: Reference, precision: str) -> None:
    """Checks a student's .tflite file.

    Args:
        path: the file, under whatever name it has so far.
        name: what errors call it.
        reference: of the Keras student.
        precision: of the file.

    Raises:
        KdistillError: other inputs or outputs than `image` and `embedding`, or other embeddings.
    """
    images, expected = reference
    interpreter = _opened(open_tflite, path, name)
    side, dimension = images.shape[1], expected.shape[1]
    compare(name, "inputs", tflite_facts(interpreter.get_input_details()), image_facts(1, side))
    compare(name, "outputs", tflite_facts(interpreter.get_output_details()), embedding_facts(1, dimension))
    runner = interpreter.get_signature_runner()
    found = [_run(lambda image=image: runner(image=image[None])["embedding"], name) for image in images]
    _compare_embeddings(name, np.concatenate(found), expected, precision)


def check_onnx_student(path: Path, name: str, reference: Reference, precision: str, batch: int | None) -> None:
    """Checks a student's .onnx file of this batch (None: open); further arguments as in `check_tflite_student`."""
    images, expected = reference
    session = _opened(open_onnx, path, name)
    side, dimension = images.shape[1], expected.shape[1]
    size = -1 if batch is None else batch
    compare(name, "inputs", onnx_facts(session.get_inputs()), image_facts(size, side))
    compare(name, "outputs", onnx_facts(session.get_outputs()), embedding_facts(size, dimension))
    # A file of a fixed batch takes no other number of images.
    rows = np.arange(len(images) if batch is None else batch) % len(images)
    found = _run(lambda: session.run(["embedding"], {"image": images[rows]})[0], name)
    _compare_embeddings(name, found[: len(images)], expected[rows][: len(images)], precision)


def check_tflite_retriever(
    path: Path, name: str, gallery: Gallery, k: int, side: int | None, reference: Reference | None, kind: str = "uint8"
) -> None:
    """Checks a retriever's .tflite file: its signatures, and its answers against all scores computed here.

    Args:
        path: the file, under whatever name it has so far.
        name: what errors call it.
        gallery: what stands in it.
        k: neighbours in an answer.
        side: S of the images that it takes; None for a file without a student.
        reference: of the Keras student; None where it came as a file, which was compared before.
        kind: of the image's values.

    Raises:
        KdistillError: other signatures, or answers that are not the nearest rows.
    """
    interpreter = _opened(open_tflite, path, name)
    answers = {"scores": ("float32", [1, k]), "ids": ("int32", [1, k])}
    expected: dict[str, tuple[Facts, Facts]] = {
        "search_embedding": ({"embedding": ("float32", [1, gallery.dimension])}, answers)
    }
    if side is not None:
        flat = {key: (dtype, [k]) for key, (dtype, _) in answers.items()}
        expected |= {
            "embed": (image_facts(1, side, kind), embedding_facts(1, gallery.dimension)),
            "search": (image_facts(1, side, kind), flat),
        }
    found_keys = sorted(interpreter.get_signature_list())
    if found_keys != sorted(expected):
        raise KdistillError(f"{name} came out with the signatures {found_keys}, expected {sorted(expected)}")
    runners = {key: interpreter.get_signature_runner(key) for key in expected}
    for key, (inputs, outputs) in expected.items():
        runner = runners[key]
        compare(name, f"inputs of {key}", named_facts(runner.get_input_details()), inputs)
        compare(name, f"outputs of {key}", named_facts(runner.get_output_details()), outputs)
    query = gallery.rows(0, 1)
    answer = _run(lambda: runners["search_embedding"](embedding=query), name)
    _compare_answer(name, answer["scores"][0], answer["ids"][0], query[0], gallery)
    if side is not None:
        images = probe_images(side) if reference is None else reference[0]
        images = quantised(images, tensor_input(runners["embed"].get_input_details()["image"], name))
        found = [_run(lambda image=image: runners["embed"](image=image[None])["embedding"], name) for image in images]
        if reference is not None:
            _compare_embeddings(name, np.concatenate(found), reference[1], "float32")
        image, embedding = images[:1], found[0]
        both = _run(lambda: runners["search"](image=image), name)
        alone = _run(lambda: runners["search_embedding"](embedding=embedding), name)
        if not np.allclose(both["scores"], alone["scores"][0], atol=1e-4):
            raise KdistillError(f"{name} searches by an image otherwise than by that image's embedding")


def check_tflite_search(path: Path, name: str, gallery: Gallery, k: int) -> None:
    """Checks a .tflite file with the one signature `search`, from an embedding to the nearest rows of a gallery.

    Args: see `check_tflite_retriever`.

    Raises:
        KdistillError: another signature, or answers that are not the nearest rows.
    """
    interpreter = _opened(open_tflite, path, name)
    found = interpreter.get_signature_list()
    if list(found) != ["search"]:
        raise KdistillError(f"{name} came out with the signatures {sorted(found)}, expected ['search']")
    runner = interpreter.get_signature_runner("search")
    compare(name, "inputs", named_facts(runner.get_input_details()), embedding_facts(1, gallery.dimension))
    answers = {"scores": ("float32", [1, k]), "ids": ("int32", [1, k])}
    compare(name, "outputs", named_facts(runner.get_output_details()), answers)
    for row in sorted({0, len(gallery.ids) - 1}):
        query = gallery.rows(row, row + 1)
        answer = _run(lambda query=query: runner(embedding=query), name)
        _compare_answer(name, answer["scores"][0], answer["ids"][0], query[0], gallery)


def check_onnx_retriever(
    path: Path, name: str, gallery: Gallery, k: int, side: int | None, reference: Reference | None
) -> None:
    """Checks a retriever's .onnx file; arguments and errors as in `check_tflite_retriever`."""
    session = _opened(open_onnx, path, name)
    inputs = {"query": ("float32", [-1, gallery.dimension])}
    overridable = session.get_overridable_initializers()
    images = {} if side is None else image_facts(-1, side)
    compare(name, "inputs", onnx_facts([*session.get_inputs(), *overridable]), inputs | images)
    outputs = {
        "embedding": ("float32", [-1, gallery.dimension]),
        "scores": ("float32", [-1, k]),
        "ids": ("int32", [-1, k]),
    }
    compare(name, "outputs", onnx_facts(session.get_outputs()), outputs)
    query = gallery.rows(0, 1)
    feed: dict[str, np.ndarray] = {"query": query}
    if side is not None:
        feed["image"] = probe_images(side) if reference is None else reference[0]
    embedding, scores, ids = _run(lambda: session.run(["embedding", "scores", "ids"], feed), name)
    if reference is not None:
        _compare_embeddings(name, embedding[:-1], reference[1], "float32")
    # The last row is the query; what a scan by int8 may lose for images unlike the gallery is no fault of the file.
    _compare_answer(name, scores[-1], ids[-1], embedding[-1], gallery)


def _opened(opener: Any, path: Path, name: str) -> Any:
    try:
        return opener(path, num_threads=1)
    except KdistillError as error:
        raise KdistillError(f"{name} came out unusable: {str(error).replace(str(path), 'the file')}") from error


def _run(call: Any, name: str) -> Any:
    try:
        return call()
    # The runtimes raise classes of their own.
    except Exception as error:
        raise KdistillError(f"{name} came out unusable: the runtime cannot run it ({first_line(error)})") from error


def _compare_embeddings(name: str, found: np.ndarray, expected: np.ndarray, precision: str) -> None:
    norms, wanted = np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1)
    cosine = np.sum(found * expected, axis=1) / np.maximum(norms * wanted, 1e-12)
    least = LEAST_COSINE.get(precision, LEAST_COSINE_BYTES)
    # A comparison with NaN is false, so that values which are not finite fail too.
    if not cosine.min() >= least:
        raise KdistillError(
            f"{name} came out with other embeddings than the student's: the least cosine of a few images is "
            f"{cosine.min():.3f}, {least} is expected of {precision}"
        )
    if not np.allclose(norms, wanted, rtol=NORM_TOLERANCE):
        raise KdistillError(f"{name} came out with embeddings of norm {norms.max():.3g}, not {wanted.max():.3g}")


def _compare_answer(name: str, scores: np.ndarray, rows: np.ndarray, query: np.ndarray, gallery: Gallery) -> None:
    """Compares one answer with the scores of all rows, computed here by the gallery's own rule."""
    asked, error = query, SCORE_TOLERANCE.get(gallery.precision, 1e-4)
    if gallery.precision == "binary":
        asked = np.where(query >= 0, 1, -1) / np.float32(gallery.dimension**0.5)
    elif gallery.precision == "asymmetric":
        # The file rounds the query to eight bits of its largest coordinate.
        error = float(gallery.dimension**0.5 * np.abs(query).max() / 254) * 1.01 + 1e-4
    best = np.empty(0, np.float32)
    given = np.empty(len(rows), np.float32)
    if len(set(rows.tolist())) != len(rows) or not ((rows >= 0) & (rows < len(gallery.ids))).all():
        raise KdistillError(
            f"{name} answers a query with the rows {rows.tolist()[:5]}..., not with {len(rows)} of its own"
        )
    for start in range(0, len(gallery.ids), _BLOCK):
        part = gallery.rows(start, start + _BLOCK) @ asked
        inside = (rows >= start) & (rows < start + len(part))
        given[inside] = part[rows[inside] - start]
        best = np.sort(np.concatenate([best, part]))[-len(rows) :]
    # A scan by leading coordinates may lose a row; the best one it does not lose where the query is a row itself.
    if not (np.abs(given - scores) <= error).all() or not given[0] >= best[-1] - 2 * error:
        raise KdistillError(
            f"{name} came out with a search that is wrong: it scores {scores[0]:.4f} for a row of {given[0]:.4f}, and "
            f"the best row has {best[-1]:.4f}"
        )
