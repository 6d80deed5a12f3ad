"""What the retriever is raced against: every search that a sceptic takes from pip (`pip install -e '.[race]'`).

A peer has a ladder of settings from quick to thorough (candidates that are refined, lists or nodes that are looked at);
it runs with the first one that reaches the recall asked for, on the very queries of the race, which favours peers.
"""

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

Search = Callable[[np.ndarray], np.ndarray]
"""From queries float32 [Q, D] to row numbers [Q, k]."""


@dataclasses.dataclass
class Peer:
    """One search.

    Attributes:
        name: of the library and its index.
        search: as `Search`, with the setting last chosen.
        bytes_a_row: of the saved index, the vectors that it refines by among them.
        build_seconds: training and adding; 0 where nothing is built.
        ladder: settings, the quickest first; empty where there is nothing to choose.
        choose: makes one of the ladder's settings hold.
        threads: makes a number of threads hold.
    """

    name: str
    search: Search
    bytes_a_row: float
    build_seconds: float = 0.0
    ladder: Sequence[int] = ()
    choose: Callable[[int], None] = lambda setting: None
    threads: Callable[[int], None] = lambda number: None
    setting: int | None = None

    def climb(self, recall: Callable[[Search], float], wanted: float) -> float:
        """Takes the first setting that reaches the wanted recall, else the last one; returns the recall."""
        reached = 0.0
        for setting in self.ladder or (None,):
            if setting is not None:
                self.choose(setting)
                self.setting = setting
            reached = recall(self.search)
            if reached >= wanted:
                break
        return reached


@dataclasses.dataclass(frozen=True)
class Maker:
    """How a peer is made: `make(gallery float32 [G, D], k)`; which library it needs; whether it is built in minutes."""

    name: str
    needs: str
    make: Callable[[np.ndarray, int], Peer]
    slow: bool = False


def makers() -> Iterator[Maker]:
    """Yields every peer that there is, whether or not its library is installed."""
    from benchmarks.search.faiss_peers import FAISS
    from benchmarks.search.other_peers import OTHERS

    yield from FAISS
    yield from OTHERS


def timed(step: Callable[[], object]) -> float:
    """Returns the seconds that a step took."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def saved_bytes(save: Callable[[str], object]) -> int:
    """Returns the size of what `save(path)` writes: a file, or the files of a folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        save(str(path))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def versions() -> dict[str, str]:
    """Returns the version of each library of the race that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in (
        "ai-edge-litert", "onnxruntime", "faiss-cpu", "usearch", "scann", "hnswlib", "sqlite-vec", "numpy"
    ):  # fmt: skip
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Returns the processor's name with the vector instructions that decide in this race."""
    name, flags = "unknown", ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        facts = {key.strip(): value.strip() for key, _, value in lines}
        name, flags = facts.get("model name", name), facts.get("flags", "")
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags.split()]
    return f"{name}, {os.cpu_count()} processors, {' '.join(known) or 'no known vector instructions'}"
