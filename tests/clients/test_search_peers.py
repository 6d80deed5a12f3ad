"""The benchmark of search runs as its documentation says, against every peer."""

import json
import subprocess
import sys

import numpy as np

from benchmarks.search.grown_gallery import clusters


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)


def test_search_compares_every_peer_and_finds_the_neighbours(tmp_path):
    rows = clusters(np.random.default_rng(0))[:600]
    np.savez(tmp_path / "gallery.npz", ids=np.arange(600).astype(str), embeddings=rows)
    done = run(
        "benchmarks.search",
        f"--embeddings={tmp_path / 'gallery.npz'}",
        "--sizes",
        "2000",
        f"--json={tmp_path / 'search.json'}",
        "--num_threads=1",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "search.json").read_text())
    assert result["figures"]["recall_at_10_2k"] > 0.99
    assert set(result["sizes"][0]["ms"]) == {
        "ours_int8", "ours_float32", "faiss_flat", "faiss_sq8", "faiss_sq8_direct_signed", "usearch_i8", "numpy"
    }  # fmt: skip
    assert result["real"] is True
    refused = run("benchmarks.search", f"--embeddings={tmp_path / 'none.npz'}")
    assert refused.returncode == 1
    assert "none.npz" in refused.stderr
    assert "Traceback" not in refused.stderr
