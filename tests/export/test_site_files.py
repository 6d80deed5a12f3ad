"""What the site is made of: pictures, models, the runtime, and what the builder refuses."""

import dataclasses
import gzip
import io
import itertools
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.__main__ import main
from export.web import pictures, runtime, site
from export.web.build import build_site
from kdistill import students
from kdistill.data import Image, ImageSet, UnreadableImage
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import Settings
from kdistill.stages.library import EVALUATE
from kdistill.stages.opening.sources import data_of
from kdistill.stages.record import Record
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir
from main import STAGES


def _noise(seed: int, height: int = 30, width: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _student() -> keras.Model:
    return students.build("small_cnn", image_size=16, embedding_dim=4)


def _set(count: int, labels: list[int] | None = None) -> ImageSet:
    return ImageSet([Image(f"{i}", array=_noise(i)) for i in range(count)], labels)


@pytest.mark.parametrize(
    ("image_id", "name"),
    [
        ("test/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg", "Golden Delicious"),
        ("digit_0012.png", "digit 0012"),
        ("all_souls/000013.jpg", "all souls"),
    ],
)
def test_names(image_id: str, name: str):
    assert pictures.display_name(image_id) == name


def test_thumbnails_lie_where_the_offsets_say(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "PER_PACK", 4)
    packs = list(pictures.thumbnail_packs(_set(10)))
    assert [len(offsets) - 1 for _, offsets in packs] == [4, 4, 2]
    for pack, offsets in packs:
        assert offsets[0] == 0
        assert offsets[-1] == len(pack)
        for start, end in itertools.pairwise(offsets):
            with PIL.Image.open(io.BytesIO(pack[start:end])) as image:
                assert image.format == "JPEG"
                assert image.size == (50, 30)


def test_a_large_thumbnail_keeps_its_shape():
    (pack, _), *rest = pictures.thumbnail_packs(ImageSet([Image("a", array=_noise(0, 200, 400))]))
    assert rest == []
    with PIL.Image.open(io.BytesIO(pack)) as image:
        assert image.size == (pictures.THUMBNAIL_SIDE, pictures.THUMBNAIL_SIDE // 2)


def test_samples_come_from_different_classes():
    images = _set(12, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4])
    assert pictures.choose_samples(images, 3) == [0, 5, 10]
    assert pictures.choose_samples(images, 99) == [0, 3, 5, 8, 10]
    assert pictures.choose_samples(images.without_labels(), 3) == [0, 6, 11]


def test_a_small_file_is_a_sample_as_it_stands(tmp_path: Path):
    path = tmp_path / "photo.webp"
    PIL.Image.fromarray(_noise(1)).save(path)
    assert pictures.sample_file(Image("a", path=path)) == (path.read_bytes(), ".webp")


def test_a_large_or_cropped_or_unusual_file_is_a_smaller_jpeg(tmp_path: Path):
    large, bitmap = tmp_path / "large.png", tmp_path / "small.bmp"
    PIL.Image.fromarray(_noise(2, 700, 900)).save(large)
    PIL.Image.fromarray(_noise(3)).save(bitmap)
    cropped = Image("c", path=bitmap, box=(0, 0, 20, 10))
    for image, size in ((Image("a", path=large), (640, 498)), (Image("b", path=bitmap), (50, 30)), (cropped, (20, 10))):
        content, suffix = pictures.sample_file(image)
        with PIL.Image.open(io.BytesIO(content)) as opened:
            assert (opened.format, suffix) == ("JPEG", ".jpg")
            assert opened.size == size


def test_rows_of_ids():
    assert pictures.rows_of(["a", "b", "c"], ["c", "x", "a"]) == [2, None, 0]


def test_the_search_model_finds_what_numpy_finds(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 24), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    site.write_search(rows, [str(i) for i in range(200)], tmp_path / "search.tflite", k=7)
    search = Interpreter(str(tmp_path / "search.tflite"), num_threads=1).get_signature_runner()
    for query in rows[:5] * 0.9 + rows[5:10] * 0.1:
        found = search(embedding=query[None])
        scores = rows @ query
        expected = np.argsort(-scores)[:7]
        np.testing.assert_array_equal(found["ids"][0], expected)
        np.testing.assert_allclose(found["scores"][0], scores[expected], atol=1e-5)


def test_a_search_model_that_came_out_wrong_gets_no_name(tmp_path: Path, monkeypatch):
    rows = np.eye(20, dtype=np.float32)
    right = site.SearchGraph

    class Wrong(right):
        def __init__(self, model, gallery, k):
            super().__init__(model, dataclasses.replace(gallery, values=np.roll(gallery.values, 1, axis=0)), k)

    monkeypatch.setattr(site, "SearchGraph", Wrong)
    with pytest.raises(KdistillError, match=r"search\.tflite came out with a search that is wrong"):
        site.write_search(rows, [str(i) for i in range(20)], tmp_path / "search.tflite", k=3)
    assert list(tmp_path.iterdir()) == []


def _packages(folder: Path, version: str, core: str = 'import { x } from "@litertjs/wasm-utils";\n') -> Path:
    modules = folder / "node_modules"
    shutil.rmtree(modules, ignore_errors=True)
    for name, script in (("@litertjs/core", core), ("@litertjs/wasm-utils", "export const x = 1;\n")):
        (modules / name / "dist").mkdir(parents=True)
        (modules / name / "dist/index.js").write_text(script)
        described = {"name": name, "version": version, "license": "Apache-2.0"}
        (modules / name / "package.json").write_text(json.dumps(described))
    (modules / "@litertjs/core/wasm").mkdir()
    for build in runtime.BUILDS:
        for file in runtime.build_files(modules, build):
            file.write_bytes(b"a build of the runtime")
    return modules


def test_the_runtimes_import_becomes_an_address_and_its_licence_lies_beside_it(tmp_path: Path):
    assert runtime.copy_runtime(_packages(tmp_path, "1.2.3"), tmp_path / "site") == "1.2.3"
    placed = tmp_path / "site" / "runtime"
    assert (placed / "litert.js").read_text() == 'import { x } from "./wasm-utils.js";\n'
    assert "Apache License" in (placed / "LICENSE.txt").read_text()
    assert "@litertjs/core 1.2.3, Apache-2.0" in (placed / "NOTICE.txt").read_text()


def test_a_runtime_of_another_layout_is_refused(tmp_path: Path):
    modules = _packages(tmp_path, "1.2.3", core="nothing is imported")
    with pytest.raises(KdistillError, match="does not import"):
        runtime.copy_runtime(modules, tmp_path / "site")


def _without_packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the builder see a checkout where `npm ci` was never run, and an empty cache."""
    (folder / "web").mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(runtime.FOLDER / name, folder / "web")
    monkeypatch.setattr(runtime, "FOLDER", folder / "web")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def test_without_npm_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _without_packages(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KdistillError, match=r"npm is needed.*install Node\.js 20"):
        runtime.runtime_packages()


def test_a_failing_npm_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _without_packages(tmp_path, monkeypatch)
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is down' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(KdistillError, match="network is down"):
        runtime.runtime_packages()
    assert not list((tmp_path / "cache").rglob("node_modules"))


def test_packages_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _without_packages(tmp_path, monkeypatch)
    locked = json.loads((runtime.FOLDER / "package-lock.json").read_text())["packages"]
    version = locked["node_modules/@litertjs/core"]["version"]
    ready = _packages(tmp_path / "ready", version)
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/calls\ncp -r {ready} .\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    first, second = runtime.runtime_packages(), runtime.runtime_packages()
    assert first == second
    assert (first / "@litertjs/core/dist/index.js").exists()
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith("ci --omit=dev --ignore-scripts")


def test_the_lock_file_names_no_registry():
    lock = (runtime.FOLDER / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ArgumentError, match="holds no site"):
        site.write_site(tmp_path, student=_student(), gallery=_set(2), embeddings=np.zeros((2, 4), np.float32))
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_an_unreadable_image_leaves_no_half_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "runtime_packages", lambda: _packages(tmp_path, "1.2.3"))
    monkeypatch.setattr(site, "export_tflite", lambda student, path, precision: path.write_bytes(b"model"))
    broken = ImageSet([Image("gone.jpg", path=tmp_path / "gone.jpg")])
    rows = np.eye(1, 4, dtype=np.float32)
    with pytest.raises(UnreadableImage, match=r"gone\.jpg"):
        site.write_site(tmp_path / "out", student=_student(), gallery=broken, embeddings=rows)
    assert {path.name for path in tmp_path.iterdir()} == {"node_modules"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workdir:
    """A run on the embedded digits, evaluated, whose student is untrained."""
    monkeypatch.setattr(runtime, "runtime_packages", lambda: _packages(tmp_path, "1.2.3"))
    workdir = Workdir(tmp_path / "run")
    settings = Settings.of(dataset="digits", image_size=32)
    Record(workdir.path, STAGES).finish(EVALUATE, settings, {}, Result())
    students.build("small_cnn", image_size=32, embedding_dim=8).save(workdir.student)
    ids = data_of(Settings.of(dataset="digits")).gallery.ids[3:300:3]
    rows = np.random.default_rng(0).standard_normal((len(ids), 8), np.float32)
    np.savez(workdir.gallery, ids=np.array(ids), embeddings=rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return workdir


def test_the_site_of_a_run(run: Workdir, tmp_path: Path):
    build_site(run.path, tmp_path / "out")
    build_site(run.path, tmp_path / "out", title="Once more")  # an older site is replaced
    content = json.loads((tmp_path / "out/site.json").read_text())
    description = json.loads(gzip.decompress((tmp_path / "out" / content["gallery"]["path"]).read_bytes()))
    with np.load(run.gallery) as stored:
        assert description["ids"] == stored["ids"].tolist()
    assert content["title"] == "Once more"
    assert not list(tmp_path.glob(".*"))
    rows = [sample["row"] for sample in content["samples"]]
    assert len(rows) == len(set(rows)) > 1


def test_a_run_that_is_not_evaluated_is_told_which_stage_is_missing(run: Workdir, tmp_path: Path):
    run.gallery.unlink()
    with pytest.raises(ArgumentError, match="run the stage 'evaluate' first"):
        build_site(run.path, tmp_path / "out")


def test_a_gallery_that_the_data_lacks_is_named(run: Workdir, tmp_path: Path):
    np.savez(run.gallery, ids=np.array(["foreign.jpg"]), embeddings=np.eye(1, 8, dtype=np.float32))
    with pytest.raises(KdistillError, match=r"'foreign\.jpg' of the run's gallery is not in its data"):
        build_site(run.path, tmp_path / "out")


def test_the_command(run: Workdir, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out"
    assert main(["web", f"--run={run.path}", f"--out={out}", "--title=By command"]) == 0
    assert json.loads((out / "site.json").read_text())["title"] == "By command"
    assert f"--directory {out}" in capsys.readouterr().out


def test_a_run_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["web", f"--run={tmp_path / 'none'}", f"--out={tmp_path / 'out'}"]) == 1
    assert "none' does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(3,), (3, 5), (2, 4), (4, 4), (3, 4, 1), (0, 4)])
def test_embeddings_that_are_not_the_gallerys_are_refused(shape, tmp_path):
    with pytest.raises(ArgumentError, match=r"embeddings \[3, 4\]"):
        site.write_site(tmp_path / "site", student=_student(), gallery=_set(3), embeddings=np.zeros(shape, np.float32))
    assert list(tmp_path.iterdir()) == []
