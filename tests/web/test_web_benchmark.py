"""The page's benchmark measures what it says, on the site of the browser tests."""

import json
from pathlib import Path

import pytest

from benchmarks.web import __main__ as web
from kdistill.errors import KdistillError


def test_one_round(built, drive):
    result = web.measure(built.folder, rounds=1)
    content = json.loads((built.folder / "site.json").read_text())
    assert result["clicks"] == len(content["samples"])
    assert set(result["figures"]) == {"web_over_native_embed", "click_to_result_ms", "search_ms", "download_mib"}
    median = result["median_ms"]
    assert result["figures"]["web_over_native_embed"] == median["embed"] / median["native_embed"]
    # A click takes at least what happens in it.
    assert median["click"] > median["embed"] + median["search"]
    sent = {path for path, _ in result["downloads"]}
    assert not any("thumbnails" in path or "samples" in path for path in sent)
    needed = [content["runtime"]["fast"]["wasm"], content["embedder"], content["searcher"], content["gallery"]]
    assert {f"/{file['path']}" for file in needed} <= sent
    total = sum(
        (built.folder / path.removeprefix("/") if path != "/" else built.folder / "index.html").stat().st_size
        for path, _ in result["downloads"]
    )
    assert result["figures"]["download_mib"] == pytest.approx(total / 2**20)


def test_a_folder_without_a_site(tmp_path: Path):
    with pytest.raises(KdistillError, match="holds no site"):
        web.measure(tmp_path, rounds=1)
