"""ONNX and TFLite files give the Keras student's embeddings, and nothing half-written is left behind."""

import copy
import json
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from export.formats.flatbuffer import operator_names, read_metadata, read_model, refuse_unportable, write_model
from export.formats.metadata import METADATA_KEY, file_metadata, stored_precision
from export.formats.onnx import export_onnx
from export.formats.tflite import PRECISIONS, export_tflite
from export.retriever.build import build_search
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.embedders import embed_pixels
from kdistill.runtimes.tflite import open_tflite

LEAST_COSINE = {"float32": 0.99999, "float16": 0.9999, "dynamic_int8": 0.999, "int8": 0.99, "int8_float_head": 0.99}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_gives_the_students_embeddings(precision, student, pixels, embeddings, tmp_path):
    path = tmp_path / "student.tflite"
    export_tflite(student, path, precision=precision, calibration=pixels, metadata=file_metadata(student, precision))
    ours = embed_pixels(path, pixels)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-5)
    assert np.sum(ours * embeddings, axis=1).min() > LEAST_COSINE[precision]
    assert stored_precision(path) == precision


def test_tflite_has_a_uint8_image_of_batch_one_and_plain_names(student, tmp_path):
    export_tflite(student, tmp_path / "student.tflite")
    interpreter = open_tflite(tmp_path / "student.tflite")
    (image,), (embedding,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (image["name"], image["dtype"], image["shape_signature"].tolist()) == ("image", np.uint8, [1, 16, 16, 3])
    assert (embedding["name"], embedding["dtype"], embedding["shape"].tolist()) == ("embedding", np.float32, [1, 12])


def test_smaller_precisions_make_smaller_files(student, pixels, tmp_path):
    wide = keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), keras.layers.Rescaling(1 / 255)])
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    features = keras.layers.Dense(400)(keras.layers.Flatten()(wide(image)))
    model = keras.Model(image, keras.layers.UnitNormalization(name="embedding")(features))
    sizes = {}
    for precision in PRECISIONS[:-1]:  # the last one needs a pooling
        export_tflite(model, tmp_path / "m.tflite", precision=precision, calibration=pixels[:, :8, :8])
        sizes[precision] = (tmp_path / "m.tflite").stat().st_size
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["dynamic_int8"] < 0.3 * sizes["float32"]
    assert sizes["int8"] < 0.3 * sizes["float32"]


def test_equal_quantisation_vectors_are_written_once(tmp_path):
    rows = np.eye(1000, 16, dtype=np.float32)
    rows[:, 0] += 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    build_search(rows, range(1000), tmp_path / "r.tflite", k=1, precision="int8")
    model = read_model(tmp_path / "r.tflite")
    write_model(model, tmp_path / "once.tflite")
    graph = model.subgraphs[0]
    gallery = next(tensor for tensor in graph.tensors if tensor.quantization and np.size(tensor.quantization.scale) > 1)
    graph.tensors.append(copy.deepcopy(gallery))
    write_model(model, tmp_path / "twice.tflite")
    grown = (tmp_path / "twice.tflite").stat().st_size - (tmp_path / "once.tflite").stat().st_size
    assert grown < 200  # a scale and a zero point for each of the rows would be 12,000 bytes
    twin = read_model(tmp_path / "twice.tflite").subgraphs[0].tensors[-1]
    np.testing.assert_array_equal(twin.quantization.scale, gallery.quantization.scale)
    np.testing.assert_array_equal(twin.quantization.zeroPoint, gallery.quantization.zeroPoint)
    assert twin.quantization.quantizedDimension == gallery.quantization.quantizedDimension


def test_int8_computes_its_convolutions_in_int8(student, pixels, tmp_path):
    export_tflite(student, tmp_path / "student.tflite", precision="int8", calibration=pixels)
    model = read_model(tmp_path / "student.tflite")
    graph = model.subgraphs[0]
    codes = [code.builtinCode for code in model.operatorCodes]
    convolutions = [operator for operator in graph.operators if codes[operator.opcodeIndex] == 3]
    assert convolutions
    assert all(graph.tensors[operator.outputs[0]].type == 9 for operator in convolutions)  # TensorType.INT8


@pytest.mark.parametrize("batch", [None, 1])
def test_onnx_gives_the_students_embeddings(batch, student, pixels, embeddings, tmp_path):
    path = tmp_path / "student.onnx"
    export_onnx(student, path, batch=batch, metadata=file_metadata(student, "float32"))
    np.testing.assert_allclose(embed_pixels(path, pixels), embeddings, atol=2e-5)
    model = onnx.load(str(path))
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert axis.dim_param == "batch" if batch is None else axis.dim_value == 1
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    assert (facts["image_size"], facts["dimension"], facts["precision"]) == (16, 12, "float32")


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.65), ("int8", 0.45)])
def test_smaller_onnx_files_give_the_students_embeddings(
    precision, share, student, pixels, embeddings, labels, tmp_path
):
    export_onnx(student, tmp_path / "whole.onnx")
    path = tmp_path / "small.onnx"
    metadata = file_metadata(student, precision)
    export_onnx(student, path, precision=precision, calibration=pixels, metadata=metadata)
    ours = embed_pixels(path, pixels)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=2e-3)
    assert np.sum(ours * embeddings, axis=1).min() > LEAST_COSINE[precision]
    assert path.stat().st_size < share * (tmp_path / "whole.onnx").stat().st_size
    assert stored_precision(path) == precision
    # Such weights saturate on processors without VNNI, which not every machine that runs this can show.
    assert onnx.TensorProto.INT8 not in {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}


def test_onnx_takes_any_number_of_images(student, pixels, embeddings, tmp_path):
    import onnxruntime

    export_onnx(student, tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "student.onnx"))
    (ours,) = session.run(["embedding"], {"image": pixels[:5]})
    np.testing.assert_allclose(ours, embeddings[:5], atol=2e-5)


def test_a_failed_export_leaves_the_old_file_and_no_other(student, tmp_path, monkeypatch):
    path = tmp_path / "student.tflite"
    path.write_bytes(b"the old file")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdistill.files.whole.os.replace", full_disk)
    with pytest.raises(KdistillError, match="No space left"):
        export_tflite(student, path)
    assert path.read_bytes() == b"the old file"
    assert [entry.name for entry in tmp_path.iterdir()] == ["student.tflite"]


def test_unknown_precision_and_missing_calibration_are_refused(student, pixels, tmp_path):
    with pytest.raises(ArgumentError, match="float64"):
        export_tflite(student, tmp_path / "a.tflite", precision="float64")
    with pytest.raises(ArgumentError, match="float64"):
        export_onnx(student, tmp_path / "a.onnx", precision="float64")
    with pytest.raises(ArgumentError, match="calibration"):
        export_onnx(student, tmp_path / "a.onnx", precision="int8")
    with pytest.raises(ArgumentError, match="calibration"):
        export_tflite(student, tmp_path / "a.tflite", precision="int8")
    with pytest.raises(ArgumentError, match=r"\[16, 16, 3\]"):
        export_tflite(student, tmp_path / "a.tflite", precision="int8", calibration=pixels[:, :8])
    assert not list(tmp_path.iterdir())


def test_flex_and_variable_operators_are_refused(student, tmp_path):
    export_tflite(student, tmp_path / "student.tflite")
    model = read_model(tmp_path / "student.tflite")
    refuse_unportable(model, "student.tflite")
    model.operatorCodes[0].builtinCode = 32  # CUSTOM
    model.operatorCodes[0].deprecatedBuiltinCode = 32
    model.operatorCodes[0].customCode = "FlexErf"
    assert "FlexErf" in operator_names(model)
    with pytest.raises(KdistillError, match="FlexErf"):
        refuse_unportable(model, "student.tflite")
    model.operatorCodes[0].builtinCode = 143  # READ_VARIABLE
    with pytest.raises(KdistillError, match="READ_VARIABLE"):
        refuse_unportable(model, "student.tflite")


@pytest.mark.parametrize("keep", [3, 40, 0.3, 0.9])
def test_truncated_files_end_in_one_sentence(keep, student, tmp_path):
    export_tflite(student, tmp_path / "whole.tflite")
    content = (tmp_path / "whole.tflite").read_bytes()
    part = Path(tmp_path / "part.tflite")
    part.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(KdistillError, match=r"part\.tflite"):
        read_model(part)


def test_metadata_is_found_again(student, tmp_path):
    export_tflite(student, tmp_path / "student.tflite", metadata={"note": "größer als ß"})
    assert read_metadata(read_model(tmp_path / "student.tflite"), "note") == "größer als ß"
    assert read_metadata(read_model(tmp_path / "student.tflite"), "other") is None
