"""Arrays of an `.npz` file without reading them whole: the same as reading them, whatever they are."""

import zipfile

import numpy as np
import pytest

from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays, map_arrays
from kdistill.files.whole import write_arrays

ARRAYS = {
    "ids": np.array(["a", "größe", ""]),
    "embeddings": np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.zeros((0, 7), np.float32),
    "scalar": np.array(3),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mapped_arrays_are_those_that_were_written(tmp_path, save):
    save(tmp_path / "arrays.npz", **ARRAYS)
    mapped = map_arrays(tmp_path / "arrays.npz", ARRAYS)
    for found, (name, array) in zip(mapped, ARRAYS.items(), strict=True):
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert isinstance(found, np.memmap) == (save is np.savez and name != "empty")


def test_what_is_written_from_a_map_is_the_same_file(tmp_path):
    write_arrays(tmp_path / "one.npz", **ARRAYS)
    np.save(tmp_path / "rows.npy", ARRAYS["embeddings"])
    again = ARRAYS | {"embeddings": np.load(tmp_path / "rows.npy", mmap_mode="r")}
    write_arrays(tmp_path / "two.npz", **again)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    for found, array in zip(load_arrays(tmp_path / "two.npz", ARRAYS), ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(found, array)


def test_what_is_missing_pickled_or_damaged_is_refused(tmp_path):
    write_arrays(tmp_path / "arrays.npz", **ARRAYS)
    with pytest.raises(KdistillError, match="has no array vectors"):
        map_arrays(tmp_path / "arrays.npz", ["ids", "vectors"])
    np.savez(tmp_path / "objects.npz", ids=np.array([{}], object))
    with pytest.raises(KdistillError, match=r"objects\.npz cannot be read: pickled arrays are refused"):
        map_arrays(tmp_path / "objects.npz", ["ids"])
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        whole = tmp_path / "rows.npy"
        np.save(whole, ARRAYS["embeddings"])
        archive.writestr("embeddings.npy", whole.read_bytes()[:-8])
    with pytest.raises(KdistillError, match=r"short\.npz"):
        map_arrays(tmp_path / "short.npz", ["embeddings"])
