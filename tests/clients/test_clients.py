"""The clients that people use load our files and give the student's embeddings."""

import cv2
import mediapipe
import numpy as np
import openvino
import pytest
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

from export.formats.onnx import export_onnx
from export.formats.tflite import PRECISIONS, export_tflite

LEAST_COSINE = {"float32": 0.9999, "float16": 0.9999, "dynamic_int8": 0.998, "int8": 0.98, "int8_float_head": 0.98}


@pytest.fixture(scope="module")
def files(student, pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for precision in PRECISIONS:
        export_tflite(student, folder / f"{precision}.tflite", precision=precision, calibration=pixels)
    export_onnx(student, folder / "dynamic.onnx")
    export_onnx(student, folder / "fixed.onnx", batch=1)
    return folder


def least_cosine(ours, embeddings) -> float:
    return float(np.sum(np.asarray(ours) * embeddings[: len(ours)], axis=1).min())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mediapipe_embeds_the_same(precision, files, pixels, embeddings):
    options = vision.ImageEmbedderOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(files / f"{precision}.tflite"))
    )
    with vision.ImageEmbedder.create_from_options(options) as embedder:
        ours = [
            embedder.embed(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).embeddings[0].embedding
            for image in pixels[:8]
        ]
    assert least_cosine(ours, embeddings) > LEAST_COSINE[precision]
    if precision == "float32":
        np.testing.assert_allclose(ours, embeddings[:8], atol=1e-2)


@pytest.mark.parametrize("name", [f"{precision}.tflite" for precision in PRECISIONS] + ["dynamic.onnx", "fixed.onnx"])
def test_openvino_reads_both_formats(name, files, pixels, embeddings):
    # Some processors would compute in bfloat16 by default, which costs cosine.
    model = openvino.Core().compile_model(str(files / name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ours = [model([image[None]])[0][0] for image in pixels[:8]]
    assert least_cosine(ours, embeddings) > LEAST_COSINE.get(name.removesuffix(".tflite"), 0.9999)


@pytest.mark.parametrize("name", ["dynamic.onnx", "fixed.onnx"])
def test_opencv_reads_onnx(name, files, pixels, embeddings):
    network = cv2.dnn.readNet(str(files / name))
    ours = []
    for image in pixels[:8]:
        network.setInput(image[None])
        ours.append(network.forward()[0])
    assert least_cosine(ours, embeddings) > 0.9999
