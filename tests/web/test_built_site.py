"""The site that the browser tests use, file by file."""

import gzip
import json
import re

from export.web import runtime


def test_files_are_named_by_their_content_and_sizes_are_true(built):
    content = json.loads((built.folder / "site.json").read_text())
    description = json.loads(gzip.decompress((built.folder / content["gallery"]["path"]).read_bytes()))
    files = [content["embedder"], content["searcher"], content["gallery"], *description["thumbnails"]["packs"]]
    files += [content["runtime"][build][part] for build in runtime.BUILDS for part in ("glue", "wasm")]
    for file in files:
        assert (built.folder / file["path"]).stat().st_size == file["bytes"]
    assert description["ids"] == list(built.images.ids)
    assert len(description["names"]) == content["gallery_size"] == len(built.images)
    assert content["image_size"] == 32


def test_the_service_worker_stores_a_page_that_exists(built):
    version = (built.folder / "version.js").read_text()
    found = re.search(r"SITE_SHELL = (\[.*\]);", version)
    assert found is not None
    shell = json.loads(found[1])
    assert {"./", "index.html", "main.js", "site.json", "runtime/litert.js"} <= set(shell)
    assert all((built.folder / name).exists() for name in shell)


def test_nothing_in_the_page_names_another_host(built):
    for path in built.folder.glob("*.*"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), path.name


def test_the_policy_allows_only_the_own_origin(built):
    page = (built.folder / "index.html").read_text()
    found = re.search(r'content="(default-src[^"]*)"', page)
    assert found is not None
    rules = dict(rule.strip().split(" ", 1) for rule in found[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    sources = {source for value in rules.values() for source in value.split()}
    assert sources <= {"'none'", "'self'", "'wasm-unsafe-eval'", "blob:"}
