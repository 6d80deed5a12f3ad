"""Omniglot in the benchmark of methods: who sees which alphabets, and a teacher that is made once."""

import zipfile

import numpy as np
import PIL.Image
import pytest

from benchmarks.methods import omniglot as methods_omniglot
from kdistill.errors import KdistillError


def write_omniglot(folder, alphabets, file="one.zip", drawings=2):
    random = np.random.default_rng(0)
    with zipfile.ZipFile(folder / file, "w") as archive:
        for alphabet in alphabets:
            for character in ("character01", "character02"):
                for drawing in range(drawings):
                    path = folder / "drawing.png"
                    PIL.Image.fromarray(random.integers(0, 2, (40, 40), np.uint8).astype(bool)).save(path)
                    archive.write(path, f"set/{alphabet}/{character}/{alphabet}_{character}_{drawing}.png")


def test_omniglot_roles_share_no_alphabet_and_repeated_drawings_count_once(tmp_path):
    every = [alphabet for alphabets in methods_omniglot.ALPHABETS.values() for alphabet in alphabets]
    assert len(every) == len(set(every))
    write_omniglot(tmp_path, every)
    write_omniglot(tmp_path, every[:1], "two.zip")
    sets = methods_omniglot.read_drawings(tmp_path)
    assert {role: len(images) for role, images in sets.items()} == dict.fromkeys(sets, 2 * 2 * 2)
    assert sets["pool"].labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sets["test"][0].pixels().shape == (40, 40, 3)


def test_a_missing_alphabet_is_named(tmp_path):
    write_omniglot(tmp_path, ["Greek"], drawings=1)
    with pytest.raises(KdistillError, match="Korean"):
        methods_omniglot.read_drawings(tmp_path)


@pytest.mark.long
def test_the_omniglot_teacher_is_trained_once(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    file = tmp_path / "teacher.keras"
    teacher = methods_omniglot.trained_teacher(file, pixels, np.array([0, 0, 1, 1]), epochs=1)
    vectors = teacher.predict(pixels, verbose=0)
    assert vectors.shape == (4, 128)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    stamp = file.stat().st_mtime_ns
    kept = methods_omniglot.trained_teacher(file, pixels, np.array([0, 0, 1, 1]), epochs=1)
    assert np.allclose(kept.predict(pixels, verbose=0), vectors, atol=1e-6)
    assert file.stat().st_mtime_ns == stamp
    embeddings = methods_omniglot.kept_embeddings(kept, pixels, tmp_path / "pool.npy")
    np.testing.assert_array_equal(methods_omniglot.kept_embeddings(None, pixels, tmp_path / "pool.npy"), embeddings)
