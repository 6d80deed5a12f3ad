"""The benchmark of search runs as its documentation says, against the peers that are installed here."""

import json
import subprocess
import sys

import numpy as np

from benchmarks.search.grown_gallery import clusters


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)


def test_search_compares_peers_and_finds_the_neighbours(tmp_path):
    rows = clusters(np.random.default_rng(0))[:600]
    np.savez(tmp_path / "gallery.npz", ids=np.arange(600).astype(str), embeddings=rows)
    files = {name: tmp_path / f"search.{name}" for name in ("json", "md", "png")}
    peers = ["faiss_flat", "faiss_pq64x4fs_flat", "usearch_hnsw_f16", "numpy", "faiss_sq_fast_scan"]
    done = run(
        "benchmarks.search",
        "--smoke",
        f"--embeddings={tmp_path / 'gallery.npz'}",
        f"--json={files['json']}",
        f"--table={files['md']}",
        f"--picture={files['png']}",
        "--peers",
        *peers,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(files["json"].read_text())
    result = content["results"]["students/2000"]
    assert content["figures"]["recall_outside_2k"] > 0.99
    ours = {"ours_int8", "ours_float32", "ours_int8_onnx", "ours_int8_shards"}
    assert set(result["searches"]) | set(result["absent"]) == ours | set(peers)
    assert result["searches"]["faiss_flat"]["recall"] == 1
    assert "faiss_flat" in files["md"].read_text()
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    refused = run("benchmarks.search", f"--embeddings={tmp_path / 'none.npz'}")
    assert refused.returncode == 1
    assert "none.npz" in refused.stderr
    assert "Traceback" not in refused.stderr
