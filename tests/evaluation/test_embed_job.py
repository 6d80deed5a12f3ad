"""The embedding job: files, resuming after a kill, shards, bad input."""

import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from export.formats.onnx import export_onnx
from export.formats.tflite import export_tflite
from kdistill import students
from kdistill.cluster.ray_engine import check_engine
from kdistill.data.layouts.folder import find_images
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import embed_images
from kdistill.evaluation.embed import __main__ as embed
from kdistill.evaluation.embed.job import embed_to_folder
from kdistill.evaluation.embed.shards import Shard, merge_shards
from kdistill.runtimes.embedders import Embedder, open_embedder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirteen photos, of which c.jpg and h.jpg cannot be read."""
    root = tmp_path_factory.mktemp("gallery")
    random = np.random.default_rng(0)
    for name in "abcdefghijklm":
        pixels = random.integers(0, 256, (3, 3, 3), np.uint8)
        PIL.Image.fromarray(pixels).resize((20, 24)).save(root / f"{name}.jpg")
    for name in "ch":
        (root / f"{name}.jpg").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def images(folder):
    return find_images(folder)


READABLE = [f"{name}.jpg" for name in "abdefgijklm"]


def means() -> Embedder:
    return Embedder(lambda pixels: pixels.mean((1, 2), dtype=np.float32), 8, 2)


@pytest.fixture(scope="module")
def expected(images):
    return embed_images(means().embed, images, image_size=8).embeddings


def test_matrix_ids_and_unreadable_images(images, expected, tmp_path):
    result = embed_to_folder(means(), images, tmp_path / "new" / "out", fingerprint="x", batch_size=4)
    matrix = np.load(result.embeddings, mmap_mode="r")
    assert (matrix.dtype, matrix.shape) == (np.float32, (11, 3))
    np.testing.assert_array_equal(matrix, expected)
    assert result.ids.read_text().splitlines() == READABLE
    assert [name for name, _ in result.skipped] == ["c.jpg", "h.jpg"]
    assert result.resumed_at == 0


def test_a_finished_job_embeds_nothing(images, expected, tmp_path):
    embed_to_folder(means(), images, tmp_path, fingerprint="x")

    def never(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError("embedded again")

    result = embed_to_folder(Embedder(never, 8, 1), images, tmp_path, fingerprint="x")
    assert result.resumed_at == 13
    np.testing.assert_array_equal(np.load(result.embeddings), expected)


@pytest.mark.parametrize("killed_at", range(1, 7))
def test_a_killed_job_continues(images, expected, tmp_path, killed_at):
    """The model dies at its n-th call; the second run embeds only what was not recorded."""
    calls, seen = [], []

    def dying(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return means().embed(pixels)

    def counting(pixels: np.ndarray) -> np.ndarray:
        seen.append(len(pixels))
        return means().embed(pixels)

    with pytest.raises(KeyboardInterrupt):
        embed_to_folder(Embedder(dying, 8, 1), images, tmp_path, fingerprint="x", batch_size=2, stretch=4)
    # What a kill between flushing rows and recording them leaves behind.
    with open(tmp_path / "embeddings.npy.partial", "ab") as file:
        file.write(b"rows that were never recorded")
    result = embed_to_folder(Embedder(counting, 8, 1), images, tmp_path, fingerprint="x", batch_size=2, stretch=4)
    np.testing.assert_array_equal(np.load(result.embeddings), expected)
    assert result.ids.read_text().splitlines() == READABLE
    assert result.resumed_at == (killed_at - 1) // 2 * 4
    assert sum(seen) == sum(1 for name in images.ids[result.resumed_at :] if name in READABLE)


def test_shards_join_to_the_whole(images, expected, tmp_path):
    for index in (2, 0, 1):
        with pytest.raises(KdistillError, match="not finished"):
            merge_shards(tmp_path, 3)
        embed_to_folder(means(), images, tmp_path, fingerprint="x", batch_size=3, shard=Shard(index, 3))
    assert (tmp_path / "embeddings-00002-of-00003.npy").exists()
    merged = merge_shards(tmp_path, 3)
    np.testing.assert_array_equal(np.load(merged.embeddings), expected)
    assert merged.ids.read_text().splitlines() == READABLE
    assert [name for name, _ in merged.skipped] == ["c.jpg", "h.jpg"]


def test_shards_cover_each_image_once():
    bounds = [Shard(index, 4).bounds(10) for index in range(4)]
    assert [position for start, stop in bounds for position in range(start, stop)] == list(range(10))


def test_another_model_does_not_continue_the_job(images, tmp_path):
    embed_to_folder(means(), images, tmp_path, fingerprint="x")
    with pytest.raises(KdistillError, match="begun with another model"):
        embed_to_folder(means(), images, tmp_path, fingerprint="y")


def test_a_damaged_record_is_named(images, tmp_path):
    (tmp_path / "progress.json").write_text("{")
    with pytest.raises(KdistillError, match=r"progress\.json is damaged"):
        embed_to_folder(means(), images, tmp_path, fingerprint="x")


def test_strict_keeps_the_rows_so_far(images, tmp_path):
    with pytest.raises(KdistillError, match=r"c\.jpg"):
        embed_to_folder(means(), images, tmp_path, fingerprint="x", strict=True, batch_size=1, stretch=1)
    assert json.loads((tmp_path / "progress.json").read_text())["rows"] == 2


def test_embeddings_that_are_not_finite_stop_the_job(images, tmp_path):
    with pytest.raises(KdistillError, match="not finite near image number 0"):
        embed_to_folder(Embedder(lambda p: np.full((len(p), 2), np.nan), 8, 1), images, tmp_path, fingerprint="x")


def test_a_folder_that_cannot_be_written(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KdistillError, match="cannot be written"):
        embed_to_folder(means(), images, tmp_path / "file" / "out", fingerprint="x")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    keras.utils.set_random_seed(0)
    student = students.build("small_cnn", image_size=16, embedding_dim=6)
    root = tmp_path_factory.mktemp("models")
    student.save(root / "student.keras")
    export_onnx(student, root / "student.onnx")
    export_tflite(student, root / "student.tflite")
    return student, root


@pytest.mark.parametrize("suffix", ["keras", "onnx", "tflite"])
def test_the_command_embeds_with_every_kind_of_file(files, folder, images, tmp_path, capsys, suffix):
    student, root = files
    model = root / f"student.{suffix}"
    command = [f"--model={model}", f"--images={folder}", f"--output={tmp_path}", "--batch_size=3"]
    assert embed.main(command) == 0
    expected = embed_images(student, images, image_size=16).embeddings
    np.testing.assert_allclose(np.load(tmp_path / "embeddings.npy"), expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.01
    assert "2 images could not be read" in capsys.readouterr().out
    assert embed.main(command) == 0
    assert "13 images were done before" in capsys.readouterr().out


def test_the_command_takes_lists_and_shards(files, folder, tmp_path, capsys):
    (folder / "some.txt").write_text("b.jpg\na.jpg\nd.jpg\n")
    command = [f"--model={files[1] / 'student.onnx'}", f"--images={folder / 'some.txt'}", f"--output={tmp_path}"]
    for index in range(2):
        assert embed.main([*command, f"--shard={index}/2"]) == 0
    assert embed.main([f"--output={tmp_path}", "--merge=2"]) == 0
    assert (tmp_path / "ids.txt").read_text().split() == ["b.jpg", "a.jpg", "d.jpg"]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"shard": "3"}, 2, "should look like 0/4"),
        ({"shard": "2/2"}, 2, "shard 2/2 does not exist"),
        ({"shard": "0/0"}, 2, "there is at least 1"),
        ({"merge": "-1"}, 2, "--merge=-1 must be the number of shards"),
        ({"merge": "2"}, 1, "shard 0/2 in"),
        ({"shard": "0/99"}, 2, "is empty"),
        ({"batch_size": "0"}, 2, "must be at least 1"),
        ({"model": "model.pt"}, 2, "none of .keras, .onnx, .tflite"),
        ({"model": "none.onnx"}, 1, "does not exist"),
        ({"model": ""}, 2, "are needed"),
        ({"images": "nowhere.txt"}, 1, "cannot be read"),
    ],
)
def test_the_command_explains_bad_input(files, folder, tmp_path, capsys, change, status, message):
    options = {"model": str(files[1] / "student.onnx"), "images": str(folder), "output": str(tmp_path), **change}
    assert embed.main([f"--{name}={value}" for name, value in options.items()]) == status
    assert message in capsys.readouterr().err


def test_layers_of_your_own_are_taken_from_packages_that_are_trusted(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_layers.py").write_text(
        "import keras\n\n@keras.saving.register_keras_serializable('own_layers')\n"
        "class Halved(keras.layers.Layer):\n    def call(self, inputs): return inputs * 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    halved = importlib.import_module("own_layers").Halved()
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    keras.Model(image, keras.layers.Rescaling(1.0, name="embedding")(halved(pooled))).save("student.keras")
    command = ["--model=student.keras", f"--images={folder}", "--output=out"]
    assert embed.main(command) == 1
    assert "--trust_packages=own_layers" in capsys.readouterr().err
    assert embed.main([*command, "--trust_packages=own_layers"]) == 0
    assert np.load(tmp_path / "out" / "embeddings.npy").shape == (len(READABLE), 3)


def test_models_that_are_damaged_or_take_no_pixels(tmp_path):
    for suffix in ("keras", "onnx", "tflite"):
        (tmp_path / f"bad.{suffix}").write_bytes(b"damaged")
        with pytest.raises(KdistillError, match=rf"bad\.{suffix} cannot be"):
            open_embedder(tmp_path / f"bad.{suffix}")
    inputs = keras.Input((4, 4, 3))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(tmp_path / "float.keras")
    with pytest.raises(KdistillError, match="expected pixels uint8"):
        open_embedder(tmp_path / "float.keras")


def test_a_model_with_other_names_is_no_student(tmp_path):
    inputs = keras.Input((4, 4, 3), dtype="uint8", name="photo")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    path = tmp_path / "other.tflite"
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, pooled))
    path.write_bytes(converter.convert())
    with pytest.raises(KdistillError, match=r"has the input and output .*, expected 'image' and 'embedding'"):
        open_embedder(path)


def test_a_shard_number_outside_is_refused():
    with pytest.raises(ArgumentError, match="they go from 0 to 1"):
        Shard(-1, 2)


def test_names_that_are_no_text_are_listed_by_their_escapes(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in (os.fsdecode(b"caf\xe9.png"), "größe.png"):
        PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photos / file)
    for number in (0, 1):
        embed_to_folder(means(), find_images(photos), tmp_path / "out", fingerprint="x", shard=Shard(number, 2))
    result = merge_shards(tmp_path / "out", 2)
    assert result.ids.read_text(encoding="utf-8").splitlines() == ["caf\\xe9.png", "größe.png"]
    assert tuple(result.ids.read_text(encoding="utf-8").splitlines()) == find_images(photos).ids


@pytest.mark.parametrize(
    "change",
    [{"next": "x"}, {"rows": -1}, {"dim": 1.5}, {"done": "yes"}, {"names": None}, {"start": True}, {"skipped": {}}],
)
def test_a_record_with_values_of_another_kind_is_named(images, tmp_path, change):
    embed_to_folder(means(), images, tmp_path, fingerprint="x")
    record = json.loads((tmp_path / "progress.json").read_text())
    (tmp_path / "progress.json").write_text(json.dumps(record | change))
    if change == {"skipped": {}}:
        assert embed_to_folder(means(), images, tmp_path, fingerprint="x").skipped == ()
        return
    with pytest.raises(KdistillError, match=r"progress\.json is damaged"):
        embed_to_folder(means(), images, tmp_path, fingerprint="x")


def test_damaged_shards_are_named_when_they_are_joined(images, tmp_path):
    for index in (0, 1):
        embed_to_folder(means(), images, tmp_path, fingerprint="x", shard=Shard(index, 2))
    matrix, ids = tmp_path / "embeddings-00001-of-00002.npy", tmp_path / "ids-00000-of-00002.txt"
    whole, names = matrix.read_bytes(), ids.read_bytes()
    for content, words in ((b"", "cannot be read"), (whole[:-8], "cannot be read"), (b"x" * 300, "cannot be read")):
        matrix.write_bytes(content)
        with pytest.raises(KdistillError, match=rf"embeddings-00001-of-00002\.npy {words}"):
            merge_shards(tmp_path, 2)
    np.save(matrix, np.zeros((2, 3), np.float32))
    with pytest.raises(KdistillError, match=r"is damaged: it holds float32 \[2, 3\], not float32 \[6, 3\]"):
        merge_shards(tmp_path, 2)
    matrix.unlink()
    with pytest.raises(KdistillError, match=r"embeddings-00001-of-00002\.npy cannot be read"):
        merge_shards(tmp_path, 2)
    matrix.write_bytes(whole)
    ids.write_bytes(names.partition(b"\n")[2])
    with pytest.raises(KdistillError, match=r"ids-00000-of-00002\.txt is damaged: it has 4 lines for 5 embeddings"):
        merge_shards(tmp_path, 2)
    ids.unlink()
    with pytest.raises(KdistillError, match=r"ids-00000-of-00002\.txt cannot be read"):
        merge_shards(tmp_path, 2)
    assert not (tmp_path / "embeddings.npy").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"KERAS_BACKEND": "jax"}, "backend is 'jax' in the variable"), ({"KERAS_HOME": "."}, "floatx is 'float16' in")],
)
def test_the_command_looks_at_keras_before_it_is_imported(tmp_path, setting, words):
    (tmp_path / "keras.json").write_text('{"floatx": "float16"}')
    command = [sys.executable, "-m", "kdistill.evaluation.embed", "--model=m.keras", "--images=.", "--output=out"]
    clean = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "KERAS_HOME")}
    environment = clean | setting | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: Keras's {words}")
    assert not (tmp_path / "out").exists()


def test_one_job_at_a_time_writes_a_shard(images, tmp_path):
    begun, finish = threading.Event(), threading.Event()

    def slow(pixels: np.ndarray) -> np.ndarray:
        begun.set()
        finish.wait()
        return pixels.mean((1, 2), dtype=np.float32)

    first = threading.Thread(
        target=embed_to_folder, args=(Embedder(slow, 8, 1), images, tmp_path), kwargs={"fingerprint": "x"}
    )
    first.start()
    begun.wait()
    with pytest.raises(KdistillError, match="another job is writing the same shard"):
        embed_to_folder(Embedder(slow, 8, 1), images, tmp_path, fingerprint="x")
    finish.set()
    first.join()
    assert embed_to_folder(Embedder(slow, 8, 1), images, tmp_path, fingerprint="x").resumed_at == 13


def test_engines_and_actors_that_do_not_exist(tmp_path, capsys):
    with pytest.raises(ArgumentError, match="none of local, ray"):
        check_engine("spark", 0)
    with pytest.raises(ArgumentError, match=r"0 \(one a core\) or more"):
        check_engine("ray", -1)
    command = ["--model=m.onnx", "--images=.", f"--output={tmp_path}", "--engine=dask"]
    assert embed.main(command) == 2
    assert "--engine=dask" in capsys.readouterr().err
