"""The page in headless Chromium: what it answers is what Python answers, and nothing leaves the machine."""

import gzip
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.web.site import SHOWN
from kdistill.data import Image, resize
from kdistill.report import Neighbour, NeighbourRow, Neighbours, write_report

# Fixtures come from conftest.py.
SIZE = 32


def _clean(seen: dict, address: str) -> None:
    assert seen["errors"] == []
    foreign = [r["url"] for r in seen["requests"] if not r["url"].startswith((address, "blob:"))]
    assert foreign == []
    assert {r["method"] for r in seen["requests"]} == {"GET"}


class Native:
    """The site's own two models, run by LiteRT in Python."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / "site.json").read_text())
        self.embedder, self.searcher = (self._open(folder / content[name]["path"]) for name in ("embedder", "searcher"))

    @staticmethod
    def _open(path: Path):
        return Interpreter(model_content=gzip.decompress(path.read_bytes()), num_threads=1).get_signature_runner()

    def embed(self, path: Path) -> np.ndarray:
        pixels = resize(Image(path.name, path=path).pixels(), SIZE)
        return self.embedder(image=pixels[None])["embedding"][0]

    def nearest(self, embedding: np.ndarray, leave_out: int | None = None) -> tuple[list[int], list[float]]:
        found = self.searcher(embedding=embedding[None])
        pairs = [(int(r), float(s)) for r, s in zip(found["ids"][0], found["scores"][0], strict=True) if r != leave_out]
        rows, scores = zip(*pairs[:SHOWN], strict=True)
        return list(rows), list(scores)


@pytest.fixture(scope="module")
def native(built) -> Native:
    """The models of the site under test."""
    return Native(built.folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same kinds of files that visitors bring."""
    folder = tmp_path_factory.mktemp("visitor")
    rng = np.random.default_rng(5)
    across, down = np.meshgrid(np.linspace(0, 9, 173), np.linspace(0, 5, 101))
    waves = [np.sin(across * a + down * b) for a, b in ((1, 2), (2, -1), (0.5, 3))]
    pixels = np.clip(128 + 90 * np.dstack(waves) + rng.normal(0, 8, (101, 173, 3)), 0, 255).astype(np.uint8)
    image = PIL.Image.fromarray(pixels)
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    alpha = image.copy()
    alpha.putalpha(PIL.Image.fromarray(np.tile(np.linspace(0, 255, 173).astype(np.uint8), (101, 1))))
    image.save(folder / "plain.png")
    image.save(folder / "photo.jpg", quality=85)
    image.save(folder / "turned.jpg", quality=90, exif=turned)
    image.save(folder / "photo.webp", quality=85)
    image.convert("L").save(folder / "grey.jpg")
    alpha.save(folder / "alpha.png")
    image.resize((900, 1400)).save(folder / "tall.jpg", quality=80)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "plain.png").read_bytes()[:60])
    return {path.name: path for path in folder.iterdir()}


GOOD = ("plain.png", "photo.jpg", "turned.jpg", "photo.webp", "grey.jpg", "alpha.png", "tall.jpg")
BAD = ("notes.txt", "empty.jpg", "cut.png")


def test_embeddings_and_neighbours_equal_pythons(built, native: Native, address: str, drive, photos: dict[str, Path]):
    files = {path.name: path for path in [photos[name] for name in GOOD] + [i.path for i in list(built.images)[::7]]}
    seen = drive("embeddings", address=address, files=[str(path) for path in files.values()])
    _clean(seen, address)
    embeddings = {name: native.embed(path) for name, path in files.items()}
    spread = np.stack(list(embeddings.values()))
    assert (spread @ spread.T).min() < 0.95  # equal answers from a constant network would prove nothing
    assert set(seen["results"]) == set(files)
    for name, result in seen["results"].items():
        pixels = resize(Image(name, path=files[name]).pixels(), SIZE)
        keras_embedding = built.student.predict(pixels[None], verbose=0)[0]
        assert np.dot(result["embedding"], keras_embedding) >= 0.9999, name
        np.testing.assert_allclose(result["embedding"], embeddings[name], atol=1e-6, err_msg=name)
        assert result["rows"] == native.nearest(embeddings[name])[0], name
    upright, turned = (np.asarray(seen["results"][name]["embedding"]) for name in ("photo.jpg", "turned.jpg"))
    assert turned @ upright < 0.999  # the EXIF tag was obeyed


def test_samples_show_names_scores_and_times(built, native: Native, address: str, drive):
    seen = drive("samples", address=address)
    _clean(seen, address)
    assert seen["state"] == "ready"
    assert seen["title"] == seen["heading"] == "Stripes & <others>"
    assert "MB" in seen["loaded"]
    assert seen["samples"] == [f"kind {kind} <b>" for kind in range(6)]
    for kind, answer in enumerate(seen["answers"]):
        row = kind * 9  # the first image of each class
        rows, scores = native.nearest(native.embed(built.images[row].path), leave_out=row)
        assert [neighbour["id"] for neighbour in answer["neighbours"]] == [built.images[r].id for r in rows]
        assert all(neighbour["name"].startswith("kind ") for neighbour in answer["neighbours"])
        np.testing.assert_allclose([neighbour["score"] for neighbour in answer["neighbours"]], scores, atol=6e-4)
        assert answer["leftOut"]
        assert list(answer["times"]) == ["decode", "resize", "embed", "search", "total"]
        assert all(text.endswith(" ms") and float(text[:-3]) >= 0 for text in answer["times"].values())


def test_the_build_for_other_browsers_answers_the_same(built, native: Native, address: str, drive):
    seen = drive("compatible", address=address, sample="kind 0 <b>")
    _clean(seen, address)
    content = json.loads((built.folder / "site.json").read_text())["runtime"]
    loaded = {request["url"].removeprefix(address) for request in seen["requests"]}
    assert content["compatible"]["wasm"]["path"] in loaded
    assert content["fast"]["wasm"]["path"] not in loaded
    rows, _ = native.nearest(native.embed(built.images[0].path), leave_out=0)
    assert [neighbour["id"] for neighbour in seen["view"]["neighbours"]] == [built.images[r].id for r in rows]


def test_dropped_pasted_and_chosen_files(built, address: str, drive, photos: dict[str, Path]):
    names = ("photo.jpg", "turned.jpg", "photo.webp", *BAD)
    seen = drive("files", address=address, files=[str(photos[name]) for name in names], sample="kind 0 <b>")
    _clean(seen, address)
    for name in names:
        for way in ("drop", "paste", "choose"):
            view = seen["results"][f"{way} {name}"]
            if name in BAD:
                reason = "is empty" if name == "empty.jpg" else "is not a picture that this browser can read"
                assert f"“{name}” {reason}" in view["problem"]
            else:
                assert view["problem"] == ""
                assert len(view["neighbours"]) == SHOWN
                assert not view["leftOut"]
    assert seen["last"]["problem"] == ""


def test_an_added_photo_is_found_kept_and_removed(address: str, drive, photos: dict[str, Path]):
    name = "<img src=x> my own"
    seen = drive("additions", address=address, file=str(photos["photo.jpg"]), name=name)
    _clean(seen, address)
    states = seen["states"]
    for state in ("added", "reloaded"):
        first = states[state]["neighbours"][0]
        assert (first["name"], first["mine"]) == (name, True)
        assert first["score"] == pytest.approx(1, abs=1e-3)
        assert states[state]["additions"] == [name]
        assert states[state]["neighbours"][1:] == states["before"]["neighbours"][:-1]
    for state in ("before", "removed", "reloaded after removal"):
        assert states[state]["neighbours"] == states["before"]["neighbours"]
        assert states[state]["additions"] == []


def test_it_works_without_a_network_once_loaded(slow_address: str, drive):
    seen = drive("offline", address=slow_address, sample="kind 1 <b>")
    assert seen["errors"] == []
    assert seen["missing"] == []  # when the page says so, the samples are stored too
    assert not seen["reachable"]
    assert seen["state"] == "ready"
    assert len(seen["view"]["neighbours"]) == SHOWN


def test_a_photo_from_the_camera(address: str, drive):
    seen = drive("camera", address=address)
    _clean(seen, address)
    assert seen["cancelled"]["neighbours"] == []
    assert seen["cancelled"]["problem"] == ""
    assert (seen["opened"], seen["closed"], seen["running"]) == (True, True, False)
    assert len(seen["view"]["neighbours"]) == SHOWN


def test_a_camera_that_may_not_be_used(address: str, drive):
    seen = drive("refused", address=address)
    assert "There is no camera that this page may use" in seen["problem"]


def test_the_keyboard_reaches_everything(address: str, drive):
    seen = drive("keyboard", address=address)
    _clean(seen, address)
    assert [place["name"] for place in seen["reached"][:2]] == ["file", "open-camera"]
    # The strip scrolls, so browsers may let it take the focus before its first button.
    assert seen["reached"][-1]["name"].startswith("kind ")
    assert all(place["outline"] == "solid" for place in seen["reached"])
    assert len(seen["view"]["neighbours"]) == SHOWN


def test_a_narrow_screen_in_dark_mode(address: str, drive):
    seen = drive("narrow", address=address, sample="kind 0 <b>")
    _clean(seen, address)
    assert seen["view"]["overflow"] <= 0
    red, green, blue = (int(part) for part in seen["background"].removeprefix("rgb(").rstrip(")").split(","))
    assert max(red, green, blue) < 60


def test_the_policy_keeps_photos_on_the_machine(address: str, drive):
    seen = drive("policy", address=address, foreign=address.replace("localhost", "127.0.0.1"))
    assert not seen["sent"]
    assert sorted(seen["blocked"]) == ["connect-src", "img-src"]
    assert not [r for r in seen["requests"] if "127.0.0.1" in r["url"] and r["method"] == "POST"]


def test_a_missing_file_is_named(address: str, drive):
    seen = drive("broken", address=address)
    assert seen["state"] == "failed"
    assert "models/" in seen["problem"]
    assert "404" in seen["problem"]


def test_the_report_opens_from_a_file_without_broken_pictures(drive, tmp_path: Path):
    thumb = np.zeros((30, 40, 3), np.uint8)
    found = [Neighbour(f"n{i}", thumb, 0.5, bool(i % 2)) for i in range(4)]
    write_report(
        tmp_path / "report.html",
        title="A run",
        summary={"dataset": "stripes"},
        rows=[{"name": "teacher", "map": 0.8}, {"name": "student", "map": 0.7, "queries": 10}],
        files=[{"name": "a_rather_long_file_name.tflite", "bytes": 1000, "map": 0.7, "latency_ms_median": 1.0}],
        history=[{"step": step, "loss": 1.0 / step, "val_map": 0.1 * step} for step in range(1, 5)],
        neighbours=Neighbours(queries=[NeighbourRow("q", thumb, "stripes", {"teacher": found, "student": found})] * 3),
        flags="--loss=rank",
    )
    views = drive("file", address=(tmp_path / "report.html").as_uri())
    for view in views.values():
        assert view["errors"] == []
        assert (view["pictures"], view["broken"], view["charts"]) == (27, 0, 4)
        assert view["overflow"] <= 0
        assert [r["url"].split(":")[0] for r in view["requests"] if not r["url"].startswith("data:")] == ["file"]
