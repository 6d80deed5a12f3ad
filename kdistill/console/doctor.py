"""`kdistill doctor`: versions, devices, and what is missing for which feature.

Native packages are imported in processes of their own: one that was built for another processor ends its process, and
that is what its user came to learn.
"""

import configparser
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from kdistill.errors import ArgumentError
from kdistill.facts.extras import EXTRAS, PROGRAMS
from kdistill.version import __version__

BASE = ""
"""Where the packages stand that every installation needs, among the extras."""

PROBES = {
    "tensorflow": "import json, tensorflow as tf; "
    "print(json.dumps([d.name.split(':', 1)[1] for d in tf.config.list_physical_devices()]))",
    "keras": "import json, keras; print(json.dumps([f'backend {keras.backend.backend()}']))",
    "onnxruntime": "import json, onnxruntime as o; print(json.dumps(o.get_available_providers()))",
    "ai-edge-litert": "import ai_edge_litert.interpreter; print('[]')",
}
"""Native package -> a program that imports it and prints what it runs on as a JSON list."""

PROBE_SECONDS = 300
"""A first import from a slow disk takes a minute; one that takes longer than this hangs."""


def main(arguments: Sequence[str]) -> int:
    """Prints the findings; returns 1 when something is missing that every run needs, else 0.

    Raises:
        ArgumentError: there are arguments; it takes none.
    """
    if arguments:
        raise ArgumentError(f"doctor takes no arguments; {arguments[0]!r} was given")
    wanted = requirements()
    print(f"kdistill {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"{_processor()}, {os.cpu_count()} cores, {_memory()}\n")
    faults = [fault for text in wanted[BASE] if (fault := fault_of(text))]
    for name, program in PROBES.items():
        runs_on, fault = probe(program)
        print(f"{name:16} {_version(name) or '-':12} {fault or ', '.join(runs_on) or 'ready'}")
        if fault and _version(name):
            faults.append(f"{name} is installed and cannot be imported")
    print()
    for extra, purpose in EXTRAS.items():
        missing = [fault for text in wanted[extra] if (fault := fault_of(text))]
        print(f"{extra:16} {'missing' if missing else 'ready':12} {purpose}")
        if missing:
            print(f"{'':29} {'; '.join(missing)}: python -m pip install 'kdistill[{extra}]'")
    for name, purpose in PROGRAMS.items():
        print(f"{name:16} {'ready' if shutil.which(name) else 'not on PATH':12} {purpose}")
    print()
    for fault in faults:
        print(f"every run needs what is missing here: {fault}")
    if not faults:
        print("nothing is missing that every run needs")
    return 1 if faults else 0


def requirements() -> dict[str, list[str]]:
    """Returns the packages by extra, `BASE` for what every installation needs, as setup.cfg writes them.

    From setup.cfg beside the package where it runs from a checkout, whose installed metadata may be older; else from
    the installed metadata.
    """
    checkout = Path(__file__).parents[2] / "setup.cfg"
    if checkout.is_file():
        parser = configparser.ConfigParser()
        parser.read(checkout, encoding="utf-8")
        groups = {BASE: parser["options"]["install_requires"], **parser["options.extras_require"]}
        return {
            extra: [line for line in lines.splitlines() if line and not line.startswith("#")]
            for extra, lines in groups.items()
        }
    found: dict[str, list[str]] = {BASE: [], **{extra: [] for extra in EXTRAS}}
    for text in importlib.metadata.requires("kdistill") or []:
        requirement = Requirement(text)
        for extra, texts in found.items():
            if requirement.marker is None:
                applies = extra == BASE
            else:
                applies = extra != BASE and requirement.marker.evaluate({"extra": extra})
            if applies:
                texts.append(text.partition(";")[0].strip())
    return found


def fault_of(text: str) -> str:
    """Returns why a requirement such as `numpy>=1.26` is not met here, or an empty text."""
    requirement = Requirement(text)
    version = _version(requirement.name)
    if version is None:
        return f"{text} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{text} is required, {version} is installed"
    return ""


def probe(program: str) -> tuple[list[str], str]:
    """Runs a program that prints a JSON list in a fresh process; returns the list and why there is none, else empty."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", program]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return [], f"its import took more than {PROBE_SECONDS} s"
    if ended.returncode < 0:
        return [], f"its import ends the process by signal {-ended.returncode}"
    if ended.returncode:
        return [], (ended.stderr.strip().splitlines() or ["its import fails"])[-1]
    return json.loads(ended.stdout.strip().splitlines()[-1]), ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return "memory unknown"
    return f"{size / 2**30:.1f} GiB of memory"
