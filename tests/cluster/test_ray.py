"""The Ray engine gives what one process gives, byte for byte, actors killed in the middle or not."""

import collections
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from ray_workers import MakeSquare, OpenMeans, OpenTeacher

from kdistill.cluster.asking import ask_on_ray
from kdistill.cluster.embedding import ray_parts
from kdistill.cluster.ray_engine import MAX_RETRIES, map_on_actors, ray_cluster
from kdistill.data import Image, ImageSet
from kdistill.data.layouts.folder import find_images
from kdistill.errors import KdistillError
from kdistill.evaluation.embed import __main__ as embed
from kdistill.evaluation.embed.job import embed_to_folder
from kdistill.runtimes.embedders import Embedder
from kdistill.teachers import Ledger, ask
from kdistill.teachers.ledger.transfer import verify


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_worker_niceness", "0")  # actors stand in the same queue as the tests that wait for them
        with ray_cluster() as ray:
            yield ray


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A hundred photos, of which four cannot be read."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(100):
        pixels = PIL.Image.fromarray(random.integers(0, 256, (3, 3, 3), np.uint8))
        pixels.resize((20, 24)).save(root / f"{number:04d}.jpg")
    for number in (0, 17, 18, 99):
        (root / f"{number:04d}.jpg").write_bytes(b"no image")
    return root


def lines(path: Path) -> list[str]:
    return path.read_text().split()


def test_results_come_in_order_and_once_whatever_dies(cluster, tmp_path):
    make = MakeSquare(tmp_path, fatal=7)
    assert list(map_on_actors(make, range(40), actors=2)) == [number**2 for number in range(40)]
    assert len(lines(tmp_path / "died")) == 1
    assert len(lines(tmp_path / "made")) == len(set(lines(tmp_path / "made"))) <= 3


def test_what_kills_every_actor_ends_the_job(cluster, tmp_path):
    make = MakeSquare(tmp_path, fatal=0, deaths=100)
    with pytest.raises(KdistillError, match="gave up on part 0 of 1"):
        list(map_on_actors(make, [0], actors=1))
    assert len(lines(tmp_path / "died")) == MAX_RETRIES + 1


def test_a_workers_sentence_arrives_as_it_is(cluster, tmp_path):
    with pytest.raises(KdistillError, match=r"^3 is refused$"):
        list(map_on_actors(MakeSquare(tmp_path, wrong=3), range(6), actors=2))


def test_embeddings_are_those_of_one_process_though_an_actor_dies(cluster, photos, tmp_path):
    images = find_images(photos)
    (tmp_path / "notes").mkdir()
    means = Embedder(lambda pixels: pixels.mean((1, 2), dtype=np.float32), 8, 1)
    local = embed_to_folder(means, images, tmp_path / "local", fingerprint="x", batch_size=3)
    parts = ray_parts(OpenMeans(tmp_path / "notes"), images, 3, actors=2)
    result = embed_to_folder(parts, images, tmp_path / "ray", fingerprint="x", batch_size=3)
    assert (tmp_path / "notes" / "died").exists()
    assert result.embeddings.read_bytes() == local.embeddings.read_bytes()
    assert result.ids.read_bytes() == local.ids.read_bytes()
    assert result.skipped == local.skipped
    assert [name for name, _ in result.skipped] == ["0000.jpg", "0017.jpg", "0018.jpg", "0099.jpg"]
    # Each actor opened the model once: the two, and the one that came after the death.
    assert len(lines(tmp_path / "notes" / "made")) <= 3


@pytest.mark.parametrize("suffix", ["keras", "tflite"])
def test_the_command_gives_the_same_bytes(cluster, photos, tmp_path, suffix, capsys):
    import keras

    from export.formats.tflite import export_tflite
    from kdistill import students

    keras.utils.set_random_seed(0)
    student = students.build("small_cnn", image_size=16, embedding_dim=6)
    model = tmp_path / f"student.{suffix}"
    {"tflite": export_tflite, "keras": lambda student, path: student.save(path)}[suffix](student, model)
    command = [f"--model={model}", f"--images={photos}", "--batch_size=3"]
    assert embed.main([*command, f"--output={tmp_path / 'local'}"]) == 0
    assert embed.main([*command, f"--output={tmp_path / 'ray'}", "--engine=ray", "--actors=2"]) == 0
    for name in ("embeddings.npy", "ids.txt", "progress.json"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()
    assert capsys.readouterr().out.count("4 images could not be read") == 2
    rows = np.load(tmp_path / "ray" / "embeddings.npy")
    assert rows.shape == (96, 6)
    assert np.ptp(rows, axis=0).max() > 0.01


def test_a_job_that_one_engine_began_the_other_continues(cluster, photos, tmp_path):
    images = find_images(photos)
    calls = []

    def dying(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        if len(calls) == 20:
            raise KeyboardInterrupt
        return pixels.mean((1, 2), dtype=np.float32)

    with pytest.raises(KeyboardInterrupt):
        embed_to_folder(Embedder(dying, 8, 1), images, tmp_path, fingerprint="x", batch_size=3, stretch=6)
    (tmp_path / "died").touch()
    parts = ray_parts(OpenMeans(tmp_path), images, 3, actors=1)
    result = embed_to_folder(parts, images, tmp_path, fingerprint="x", batch_size=3)
    assert result.resumed_at > 0
    means = Embedder(lambda pixels: pixels.mean((1, 2), dtype=np.float32), 8, 1)
    whole = embed_to_folder(means, images, tmp_path / "whole", fingerprint="x", batch_size=3)
    assert result.embeddings.read_bytes() == whole.embeddings.read_bytes()


def test_strict_stops_a_cluster_too(cluster, photos, tmp_path):
    (tmp_path / "died").touch()
    images = find_images(photos)
    parts = ray_parts(OpenMeans(tmp_path), images, 3, actors=1)
    with pytest.raises(KdistillError, match=r"0000\.jpg"):
        embed_to_folder(parts, images, tmp_path / "out", fingerprint="x", batch_size=3, strict=True)


@pytest.fixture
def pool(tmp_path) -> ImageSet:
    """Sixty files, two of equal content."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:04d}.img").write_bytes(b"image %d" % (number if number != 20 else 2))
    return ImageSet([Image(path.name, path=path) for path in sorted(folder.iterdir())])


def locations(request, kind: str, tmp_path: Path) -> tuple[str, str]:
    if kind == "sqlite":
        return str(tmp_path / "one.sqlite"), str(tmp_path / "other.sqlite")
    new_schema = request.getfixturevalue("new_schema")
    return new_schema(), new_schema()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_answers_are_those_of_one_process(cluster, pool, request, tmp_path, kind):
    here, there = locations(request, kind, tmp_path)
    order = np.random.default_rng(0).permutation(60)[:50]
    with Ledger(here) as ledger:
        local = ask(OpenTeacher(tmp_path), pool, order, ledger, budget=41, batch_size=4)
    (tmp_path / "asked").unlink()
    answers = ask_on_ray(OpenTeacher(tmp_path), pool, order, there, budget=41, batch_size=4, actors=2)
    np.testing.assert_array_equal(answers.indices, local.indices)
    assert answers.embeddings.tobytes() == local.embeddings.tobytes()
    assert (answers.skipped, answers.spent) == (local.skipped, 41)
    assert set(answers.unasked) == set(local.unasked)
    assert set(collections.Counter(lines(tmp_path / "asked")).values()) == {1}
    again = ask_on_ray(OpenTeacher(tmp_path), pool, order, there, budget=41, batch_size=4, actors=2)
    assert again.embeddings.tobytes() == local.embeddings.tobytes()
    assert again.spent == 0
    assert len(lines(tmp_path / "asked")) == 41


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_actor_that_dies_costs_one_batch_and_no_answer(cluster, pool, request, tmp_path, kind):
    here, there = locations(request, kind, tmp_path)
    order = range(12, 48)
    with Ledger(here) as ledger:
        local = ask(OpenTeacher(tmp_path), pool, order, ledger, budget=60, batch_size=4)
    (tmp_path / "asked").unlink()
    teacher = OpenTeacher(tmp_path, fatal="0030.img")
    answers = ask_on_ray(teacher, pool, order, there, budget=60, batch_size=4, actors=2)
    assert (tmp_path / "died").exists()
    assert answers.embeddings.tobytes() == local.embeddings.tobytes()
    with Ledger(there) as ledger:
        summary = ledger.summary()
        assert (summary.spent, summary.unknown, summary.in_flight, summary.bad) == (40, 0, 0, 1)
        assert verify(ledger) == []
