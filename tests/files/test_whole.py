"""Files are written whole or not at all, and nothing else than a file is replaced by one."""

import os
import socket

import pytest

from kdistill.errors import KdistillError
from kdistill.files.whole import is_text, whole_file, write_whole


def test_only_a_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to a pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    for name in before:
        with pytest.raises(KdistillError, match=f"{name} cannot be written: it is not a regular file"):
            write_whole(tmp_path / name, "content")
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_file_has_a_name(name):
    with pytest.raises(KdistillError, match="is no name of a file to write"), whole_file(name):
        pytest.fail("the block was entered")


def test_names_that_are_text():
    assert is_text("größe")
    assert not is_text(os.fsdecode(b"caf\xe9"))
