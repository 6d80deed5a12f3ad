"""Names of a table are found as a dictionary finds them, and Parquet tables hold what was written."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdistill.data import Image
from kdistill.errors import KdistillError
from kdistill.teachers.providers import names as names_module
from kdistill.teachers.providers import table as table_module
from kdistill.teachers.providers.names import Names
from kdistill.teachers.providers.table import TableTeacher

TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)


@pytest.mark.parametrize("hashes", [None, 3, 1])
@given(names=st.lists(TEXTS, max_size=30), other=TEXTS)
def test_names_are_those_of_a_dictionary(hashes, names, other):
    with pytest.MonkeyPatch.context() as patch:
        if hashes:  # names of equal hashes are told apart
            patch.setattr(names_module, "_hash", lambda name: len(name) % hashes)
        found = Names(iter(names))
        first = {}
        for row, name in enumerate(names):
            first.setdefault(name, row)
        assert len(found) == len(names)
        assert {name: found.row(name) for name in names} == first
        assert found.row(other) == first.get(other)
        repeated = [name for row, name in enumerate(names) if first[name] != row]
        assert found.repeated == (repeated[0] if repeated else None)


def _written(path, embeddings, ids, rows_a_group=None):
    table = pyarrow.table({"id": ids, "embedding": embeddings})
    pyarrow.parquet.write_table(table, path, row_group_size=rows_a_group)
    return path


ROWS = np.random.default_rng(0).integers(-9, 9, (50, 3))
IDS = [f"folder/ä{row}.jpg" for row in range(50)]


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.list_(pyarrow.float32()),
        pyarrow.list_(pyarrow.float64()),
        pyarrow.list_(pyarrow.int16()),
        pyarrow.large_list(pyarrow.float32()),
        pyarrow.list_(pyarrow.float32(), 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("rows_a_group", [None, 7])
def test_a_parquet_table_is_what_was_written(tmp_path, kind, rows_a_group, monkeypatch):
    monkeypatch.setattr(table_module, "_PARQUET_ROWS", 4)
    path = _written(tmp_path / "t.parquet", pyarrow.array(ROWS.tolist(), kind), IDS, rows_a_group)
    teacher = TableTeacher(path)
    assert teacher.dimension == 3
    order = np.random.default_rng(1).permutation(50)
    found = teacher.embed([Image(IDS[row], array=np.zeros((1, 1, 3), np.uint8)) for row in order])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, ROWS[order])


@pytest.mark.parametrize(
    "embeddings",
    [
        [[1.0, 2.0], [3.0]],
        [[1.0, 2.0], None],
        [[1.0, 2.0], [3.0, None]],
        [[1.0], [2.0, 3.0]],
    ],
)
def test_lists_that_make_no_matrix_are_refused(tmp_path, embeddings):
    path = _written(tmp_path / "t.parquet", embeddings, ["a", "b"])
    with pytest.raises(KdistillError, match="holds lists of different lengths, or nothing in some place"):
        TableTeacher(path)


def test_an_empty_or_other_table_is_refused_in_a_sentence(tmp_path):
    empty = _written(tmp_path / "empty.parquet", pyarrow.array([], pyarrow.list_(pyarrow.float32())), [])
    with pytest.raises(KdistillError, match="must have one row of numbers for each id"):
        TableTeacher(empty)
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "embedding": [1.0]}), tmp_path / "flat.parquet")
    with pytest.raises(KdistillError, match=r"flat\.parquet cannot be read"):
        TableTeacher(tmp_path / "flat.parquet")
