"""The names of the release before still import, with a warning."""

import importlib
import sys

import pytest

from kdistill.training import callbacks, distiller


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("kdistill.distiller", distiller, ["Distiller"]),
        (
            "kdistill.callbacks",
            callbacks,
            ["HistoryFile", "ResumableCheckpoint", "RetrievalEvaluation", "StopOnNaN", "read_history"],
        ),
    ],
)
def test_old_names_warn_and_are_the_new_ones(old, new, names):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new.__name__}"):
        module = importlib.import_module(old)
    for name in names:
        assert getattr(module, name) is getattr(new, name)
