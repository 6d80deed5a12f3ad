"""`kdistill doctor` and optional packages: what is found, what is missing, and that the lists are true."""

import ast
import configparser
import importlib.metadata
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import main
from kdistill.console import doctor
from kdistill.console.optional import optional
from kdistill.errors import KdistillError
from kdistill.facts.extras import EXTRAS

REPOSITORY = Path(__file__).parents[2]
QUICK = {"numpy": "print('[\"here\"]')", "pillow": "raise ImportError('no such thing')"}
"""Probes that import nothing: TensorFlow's are tried by the long test."""


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    return parser


def _imported(*tops: str) -> set[str]:
    """Returns the top-level names of all modules that the Python files under `tops` import or name to `optional`."""
    files = [file for top in tops for file in (REPOSITORY / top).rglob("*.py") if "node_modules" not in file.parts]
    names = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "optional":
            names |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def _packages(extra: str) -> set[str]:
    return {Requirement(text).name for text in doctor.requirements()[extra]}


def _named(modules, module: str) -> set[str]:
    """Returns the packages that a module may come from, as setup.cfg writes them."""
    return {package.lower() for package in modules.get(module, [module])}


def test_every_extra_is_explained():
    assert EXTRAS.keys() == dict(_setup()["options.extras_require"]).keys()


def test_the_base_installs_what_the_package_imports_and_nothing_else():
    modules = importlib.metadata.packages_distributions()
    imported = _imported("kdistill", "export") | {"absl"}
    needed = {package.lower() for module in imported for package in modules.get(module, [])}
    base = _packages(doctor.BASE)
    # Two names of one module: the one with a new name is asked for. TensorBoard is opened by Keras's callback.
    assert base - {"tensorboard"} <= needed
    optionals = set().union(*(_packages(extra) for extra in EXTRAS))
    own = {"kdistill", "export", "main", "benchmarks", "search"}  # the last of the examples, which lie side by side
    unknown = {module for module in imported - own if not _named(modules, module) & (base | optionals)}
    not_named_alike = {
        "ai_edge_quantizer": "ai-edge-quantizer",
        "cv2": "mediapipe",  # which brings it
        "faiss": "faiss-cpu",
        "jax": "jax2onnx",  # which brings it
        "keras_hub": "keras-hub",
        "litert_converter": "litert-converter",
        "milvus_lite": "milvus-lite",
        "tensorflow_addons": "tensorflow-addons",
    }
    assert {not_named_alike.get(module, module) for module in unknown} <= optionals
    assert "matplotlib" not in base | imported


def test_requirements_are_compared_with_what_is_installed():
    version = importlib.metadata.version("numpy")
    assert doctor.fault_of("numpy>=1.26") == ""
    assert doctor.fault_of("numpy<1") == f"numpy<1 is required, {version} is installed"
    assert doctor.fault_of("no-such-package>=2") == "no-such-package>=2 is not installed"


def test_a_probe_tells_devices_failure_and_sudden_death():
    assert doctor.probe("print('noise'); print('[\"CPU:0\"]')") == (["CPU:0"], "")
    assert doctor.probe("raise ImportError('libsomething.so is missing')")[1].endswith("libsomething.so is missing")
    assert doctor.probe("import os; os.kill(os.getpid(), 4)")[1] == "its import ends the process by signal 4"


def test_what_every_run_needs_decides_the_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "PROBES", {"numpy": QUICK["numpy"]})
    assert doctor.main([]) == 0
    assert capsys.readouterr().out.endswith("nothing is missing that every run needs\n")
    monkeypatch.setattr(doctor, "PROBES", QUICK)
    assert doctor.main([]) == 1
    assert "pillow is installed and cannot be imported" in capsys.readouterr().out
    wanted = {**doctor.requirements(), doctor.BASE: ["numpy>=999"], "ray": ["no-such-package"]}
    monkeypatch.setattr(doctor, "PROBES", {})
    monkeypatch.setattr(doctor, "requirements", lambda: wanted)
    assert doctor.main([]) == 1
    said = capsys.readouterr().out
    assert "numpy>=999 is required" in said
    assert "no-such-package is not installed: python -m pip install 'kdistill[ray]'" in said


def test_it_takes_no_arguments(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kdistill", "doctor", "--fast"])
    with pytest.raises(SystemExit) as ended:
        main.cli()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: doctor takes no arguments; '--fast' was given\n"


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(KdistillError, match=r"^no_such_thing cannot be imported .*'kdistill\[ray\]'$"):
        optional("no_such_thing.inside", "ray")


@pytest.mark.long
def test_the_real_probes_find_a_device_each(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kdistill", "doctor"])
    main.cli()
    said = capsys.readouterr().out
    for name in doctor.PROBES:
        assert importlib.metadata.version(name) in said
    assert "CPU:0" in said
    assert "CPUExecutionProvider" in said
