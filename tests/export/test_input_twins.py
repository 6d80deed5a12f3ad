"""Twins that take float32 or int8 pixels answer as the file that they were made of, in both of LiteRT's runtimes."""

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel

from export.__main__ import main
from export.formats.flatbuffer import read_model, write_model
from export.formats.input_twins import write_twin
from export.formats.tflite import export_tflite
from export.retriever.apart import take_apart
from export.retriever.build import build_retriever, build_search
from export.retriever.client import Retriever
from export.retriever.update import update_retriever
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.embedders import embed_pixels, open_embedder
from kdistill.runtimes.tflite import open_tflite

PRECISIONS = ("float32", "float16", "dynamic_int8", "int8", "int8_float_head")


@pytest.fixture(scope="module")
def files(student, pixels, tmp_path_factory):
    """The student's file of each precision."""
    folder = tmp_path_factory.mktemp("files")
    for precision in PRECISIONS:
        given = pixels if "int8" in precision and precision != "dynamic_int8" else None
        export_tflite(student, folder / f"{precision}.tflite", precision=precision, calibration=given)
    return folder


@pytest.fixture(scope="module")
def retriever(student, embeddings, tmp_path_factory):
    path = tmp_path_factory.mktemp("retriever") / "retriever.tflite"
    build_retriever(student, embeddings, [f"photo {row}" for row in range(len(embeddings))], path, k=4)
    return path


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_twin_gives_the_embeddings_of_the_file(precision, kind, files, pixels, tmp_path):
    twin = tmp_path / "twin.tflite"
    write_twin(files / f"{precision}.tflite", twin, kind)
    (details,) = open_tflite(twin).get_input_details()
    assert np.dtype(details["dtype"]).name == kind
    names = {entry["op_name"] for entry in open_tflite(twin)._get_ops_details()}
    assert "CAST" not in names
    expected = embed_pixels(files / f"{precision}.tflite", pixels)
    np.testing.assert_allclose(embed_pixels(twin, pixels), expected, atol=1e-6)


def test_an_int8_input_states_how_a_pixel_goes_in(files, tmp_path):
    for precision in ("float32", "int8"):
        write_twin(files / f"{precision}.tflite", tmp_path / "twin.tflite", "int8")
        (details,) = open_tflite(tmp_path / "twin.tflite").get_input_details()
        scale, zero_point = details["quantization"]
        assert (scale, zero_point) == pytest.approx((1, -128), abs=0.05)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_retrievers_twin_searches_and_is_updated(kind, retriever, pixels, embeddings, tmp_path):
    twin = tmp_path / "twin.tflite"
    write_twin(retriever, twin, kind)
    first, second = Retriever(retriever), Retriever(twin)
    for image in pixels[::7]:
        assert [match.id for match in second.search(image)] == [match.id for match in first.search(image)]
        np.testing.assert_allclose(second.embed(image), first.embed(image), atol=1e-6)
    update_retriever(twin, twin, embeddings=-embeddings[:1], ids=["opposite"])
    assert Retriever(twin).search_embedding(-embeddings[0])[0].id == "opposite"
    assert Retriever(twin).search(pixels[3])[0].id == "photo 3"


def test_what_is_no_file_of_uint8_pixels_is_refused(files, retriever, embeddings, tmp_path):
    twin, again = tmp_path / "twin.tflite", tmp_path / "again.tflite"
    write_twin(files / "float32.tflite", twin, "float32")
    with pytest.raises(KdistillError, match="is not the uint8 of a file"):
        write_twin(twin, again, "int8")
    build_search(embeddings, [str(row) for row in range(len(embeddings))], tmp_path / "search.tflite", k=2)
    with pytest.raises(KdistillError, match="takes no image"):
        write_twin(tmp_path / "search.tflite", again, "float32")
    with pytest.raises(ArgumentError, match=r"another \.tflite file"):
        write_twin(retriever, retriever, "float32")
    with pytest.raises(ArgumentError, match="float32 or int8"):
        write_twin(retriever, again, "uint8")
    assert not again.exists()


def test_a_foreign_file_of_floats_is_no_twin(files, tmp_path):
    """Its names are ours, and what its floats mean is not known: 0..255 would be a guess."""
    write_twin(files / "float32.tflite", tmp_path / "twin.tflite", "float32")
    model = read_model(tmp_path / "twin.tflite")
    model.metadata = []
    write_model(model, tmp_path / "foreign.tflite")
    with pytest.raises(KdistillError, match="expected pixels uint8"):
        open_embedder(tmp_path / "foreign.tflite")


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_a_retriever_is_taken_apart(suffix, student, pixels, embeddings, tmp_path):
    ids = [f"photo {row}" for row in range(len(embeddings))]
    build_retriever(student, embeddings, ids, tmp_path / f"r{suffix}", k=3)
    embed, search = take_apart(tmp_path / f"r{suffix}", tmp_path / "apart")
    found = embed_pixels(embed, pixels[:5])
    np.testing.assert_allclose(found, embeddings[:5], atol=1e-4)
    alone, whole = Retriever(search), Retriever(tmp_path / f"r{suffix}")
    assert alone.image_size is None
    for row in range(5):
        assert [match.id for match in alone.search_embedding(found[row])] == [
            match.id for match in whole.search(pixels[row])
        ]
    with pytest.raises(KdistillError, match="holds no student"):
        take_apart(search, tmp_path / "again")


def compiled(path):
    """Returns key -> function from inputs by name to outputs by name, run by CompiledModel on the CPU."""
    model = CompiledModel.from_file(str(path))

    def call(key, **inputs):
        index = model.get_signature_index(key)
        names = model.get_signature_list()[key]
        fed = {name: model.create_input_buffer_by_name(key, name) for name in names["inputs"]}
        given = {name: model.create_output_buffer_by_name(key, name) for name in names["outputs"]}
        for name, values in inputs.items():
            fed[name].write(np.ascontiguousarray(values))
        model.run_by_name(key, fed, given)
        details = model.get_output_tensor_details(key)
        assert index >= 0
        return {
            name: buffer.read(int(np.prod(details[name]["shape"])), np.dtype(details[name]["dtype"]).type)
            for name, buffer in given.items()
        }

    return model, call


@pytest.mark.parametrize("kind", ["uint8", "float32", "int8"])
def test_every_signature_runs_as_a_compiled_model(kind, retriever, pixels, embeddings, tmp_path):
    path = retriever
    if kind != "uint8":
        path = tmp_path / "twin.tflite"
        write_twin(retriever, path, kind)
    model, call = compiled(path)
    assert set(model.get_signature_list()) == {"embed", "search", "search_embedding"}
    image = pixels[5:6].astype(np.int16)
    image = (image - 128 if kind == "int8" else image).astype(kind)
    np.testing.assert_allclose(call("embed", image=image)["embedding"], embeddings[5], atol=1e-4)
    expected = [match.row for match in Retriever(retriever).search(pixels[5])]
    np.testing.assert_array_equal(call("search", image=image)["ids"], expected)
    np.testing.assert_array_equal(call("search_embedding", embedding=embeddings[5:6])["ids"], expected)


def test_the_commands(files, retriever, tmp_path, capsys):
    source = tmp_path / "student.tflite"
    source.write_bytes((files / "float32.tflite").read_bytes())
    assert main(["twin", f"--file={source}", "--input=float32"]) == 0
    assert (tmp_path / "student_float32_input.tflite").exists()
    assert main(["apart", f"--retriever={retriever}", f"--to={tmp_path / 'two'}"]) == 0
    assert {file.name for file in (tmp_path / "two").iterdir()} == {"embed.tflite", "search.tflite", "search.json"}
    assert main(["twin", f"--file={tmp_path / 'nowhere.tflite'}", "--input=int8"]) == 1
    assert "cannot be read" in capsys.readouterr().err
