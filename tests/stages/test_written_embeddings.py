"""Embeddings of a pool are those of `embed_images`, written as they are made; another network begins anew."""

import numpy as np
import PIL.Image
import pytest

from kdistill import students
from kdistill.assistant.assistant import answering
from kdistill.data import Image, ImageSet, load_pixels
from kdistill.evaluation import embed_images
from kdistill.files.archives import map_arrays
from kdistill.settings import Settings
from kdistill.stages.opening import embedding
from kdistill.stages.opening.embedding import write_embeddings


@pytest.fixture(scope="module")
def network():
    return students.build("small_cnn", image_size=16, embedding_dim=4)


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for number in range(9):
        path = tmp_path / f"{number}.png"
        PIL.Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
        made.append(Image(path.name, path=path))
    made[4].path.write_bytes(b"no image")
    return ImageSet(made)


def _write(file, network, images, **options):
    write_embeddings(Settings.of(), file, network, images, name="features", identity={"of": "a test"}, **options)
    return map_arrays(file, ("ids", "features"))


def test_rows_are_those_of_embedding_in_memory(network, images, tmp_path):
    file = tmp_path / "out" / "features.npz"
    ids, features = _write(file, network, images)
    expected = embed_images(network, images, image_size=16)
    assert ids.tolist() == [images.ids[row] for row in expected.indices]
    np.testing.assert_array_equal(features, expected.embeddings)
    assert isinstance(features, np.memmap)
    assert [path.name for path in file.parent.iterdir()] == ["features.npz"]


def test_answers_are_those_of_the_assistant_on_larger_photos(network, images, tmp_path):
    _, answers = _write(tmp_path / "out.npz", network, images, answers=True, side=20)
    expected = answering(network)(load_pixels(images, 20).pixels)
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_what_was_embedded_before_a_kill_is_not_embedded_again(network, images, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    file = tmp_path / "features.npz"
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "write_arrays", killed)
        with pytest.raises(KeyboardInterrupt):
            _write(file, network, images)
    assert not file.exists()
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "as_function", lambda model: lambda pixels: seen.append(len(pixels)))
        _, features = _write(file, network, images)
    assert seen == []
    np.testing.assert_array_equal(features, embed_images(network, images, image_size=16).embeddings)


def test_another_network_begins_anew(network, images, tmp_path, monkeypatch):
    file = tmp_path / "features.npz"
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "write_arrays", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _write(file, network, images)
    other = students.build("small_cnn", image_size=16, embedding_dim=5)
    write_embeddings(Settings.of(), file, other, images, name="features", identity={"of": "another"})
    (features,) = map_arrays(file, ("features",))
    np.testing.assert_array_equal(features, embed_images(other, images, image_size=16).embeddings)
