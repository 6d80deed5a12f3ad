"""The restricted reader: plain data comes through, anything else is refused by its name."""

import collections
import io
import os
import pickle
import struct
import subprocess

import numpy as np
import pytest

from kdistill.errors import KdistillError
from kdistill.files.restricted_pickle import load_plain

PLAIN = {
    "names": ["a", "b"],
    "nested": ({"x": 1.5}, [True, None, 2**70], {1, 2}, frozenset({3}), b"bytes"),
    "ordered": collections.OrderedDict(k=1),
}


def write(tmp_path, content, protocol):
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_through(tmp_path, protocol):
    assert load_plain(write(tmp_path, PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([], np.int64),
        np.array([1, 2], ">i4"),
        np.array([True, False]),
        np.array(["ab", "c"]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_and_scalars_come_through(tmp_path, protocol, array):
    loaded = load_plain(write(tmp_path, [array, *array.reshape(-1)[:1]], protocol))
    np.testing.assert_array_equal(loaded[0], array)
    assert loaded[1:] == list(array.reshape(-1)[:1])


def test_both_names_of_numpys_core_are_known(tmp_path):
    encoded = pickle.dumps(np.arange(3), 2).replace(b"numpy._core", b"numpy.core")
    path = tmp_path / "file.pkl"
    for core in (b"numpy.core", b"numpy._core"):
        path.write_bytes(encoded.replace(b"numpy.core", core))
        np.testing.assert_array_equal(load_plain(path), np.arange(3))


def test_a_python_2_pickle_with_byte_strings(tmp_path):
    """Protocol 2 as Python 2 wrote it: str as SHORT_BINSTRING, an array's data as a byte string."""
    data = struct.pack("<2q", 4, 258)
    text = b"\x80\x02}(U\x05namesU\x02ab"
    text += b"U\x03arrcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    text += (
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    text += b"\x89U" + bytes([len(data)]) + data + b"tbu."
    path = tmp_path / "file.pkl"
    path.write_bytes(text)
    loaded = load_plain(path)
    assert loaded["names"] == "ab"
    np.testing.assert_array_equal(loaded["arr"], [4, 258])


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Call(os.system, "touch created"), "system"),
        (Call(subprocess.Popen, ["touch", "created"]), "Popen"),
        (Call(eval, "open('created', 'w')"), "builtins.eval"),
        (Call(getattr, "a", "upper"), "builtins.getattr"),
        (Call(np.load, "created"), "numpy.load"),
        (io.StringIO, "_io.StringIO"),
        (np.array([{}], object), "type O"),
        (np.zeros(2, [("a", int)]), "fields"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_everything_else_is_refused_by_name(tmp_path, monkeypatch, content, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KdistillError, match=name):
        load_plain(write(tmp_path, {"innocent": 1, "gnd": content}, 2))
    assert not (tmp_path / "created").exists()


def test_a_nested_name_does_not_reach_beyond_the_module(tmp_path):
    """Protocol 4 looks dotted names up attribute by attribute; the whole name must be known."""
    path = tmp_path / "file.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.")
    with pytest.raises(KdistillError, match=r"numpy\.ndarray\.__class__"):
        load_plain(path)


@pytest.mark.parametrize("damage", [b"", b"no pickle", pickle.dumps(PLAIN)[:-7]])
def test_damaged_files_end_in_one_sentence(tmp_path, damage):
    path = tmp_path / "file.pkl"
    path.write_bytes(damage)
    with pytest.raises(KdistillError, match=r"file\.pkl is not a readable pickle"):
        load_plain(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(KdistillError, match="cannot be read"):
        load_plain(tmp_path / "none.pkl")


def test_a_shape_that_does_not_fit_the_data(tmp_path):
    encoded = pickle.dumps(np.arange(3), 2).replace(b"K\x03\x85", b"K\x09\x85")
    path = tmp_path / "file.pkl"
    path.write_bytes(encoded)
    with pytest.raises(KdistillError, match="not a readable pickle"):
        load_plain(path)
