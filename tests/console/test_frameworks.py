"""Our commands import Keras without what it only has wrappers for; everything else finds these packages."""

import gc
import importlib
import importlib.machinery
import subprocess
import sys
import types

import pytest

from kdistill.console.frameworks import prepare_frameworks


def test_only_the_import_of_keras_finds_none(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [])
    prepare_frameworks()
    (finder,) = sys.meta_path
    keras = types.ModuleType("keras")
    keras.__spec__ = importlib.machinery.ModuleSpec("keras", None)
    monkeypatch.setitem(sys.modules, "keras", keras)
    assert finder.find_spec("sklearn", None) is None
    keras.__spec__._initializing = True
    assert finder.find_spec("numpy", None) is None
    for hidden in ("sklearn", "matplotlib"):
        with pytest.raises(ImportError, match=hidden):
            finder.find_spec(hidden, None)
    prepare_frameworks()
    assert sys.meta_path == [finder]


@pytest.mark.long
def test_a_process_of_ours_imports_the_real_ones_afterwards():
    code = (
        "import os, sys\n"
        "from kdistill.console.frameworks import prepare_frameworks\n"
        "prepare_frameworks()\n"
        "import keras\n"
        "assert not {'sklearn', 'matplotlib', 'pandas'} & sys.modules.keys()\n"
        "assert os.environ['TF_ENABLE_ONEDNN_OPTS'] == '1'\n"
        "import matplotlib.pyplot, sklearn.base\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("ending", ["", "raise OSError('no disk')"])
def test_no_garbage_is_looked_for_during_the_import_of_a_large_package(tmp_path, monkeypatch, collecting, ending):
    (tmp_path / "vast.py").write_text(f"import gc\ncollecting = gc.isenabled()\n{ending}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("kdistill.console.frameworks._LARGE", ("vast",))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "vast", raising=False)
    prepare_frameworks()
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        if ending:
            with pytest.raises(OSError, match="no disk"):
                importlib.import_module("vast")
        else:
            assert not importlib.import_module("vast").collecting
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()
        sys.modules.pop("vast", None)
