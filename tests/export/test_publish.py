"""`python -m export publish` and `export.load`: what is handed over, runs without TensorFlow, what breaks it."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import export
import main
from export.__main__ import main as command
from export.publish import checksums
from kdistill.data.images import decode
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.settings import Settings

REPOSITORY = Path(__file__).parents[2]
COLOURS = np.random.default_rng(1).integers(30, 226, (6, 3))

ONLY = """
import sys
class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuses())
"""
HEAVY = ("tensorflow", "keras", "sklearn", "scipy", "jinja2", "sqlalchemy", "h5py", "tf2onnx", "onnx")


def only(refused, code):
    """Returns a program that finds none of the refused packages."""
    return ONLY.format(refused=tuple(refused)) + code


def ran(folder, program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run on noisy photos of six colours."""
    root = tmp_path_factory.mktemp("run")
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(48)]
    for number, name in enumerate(names):
        noise = random.integers(-20, 21, (24, 32, 3))
        PIL.Image.fromarray((COLOURS[number % 6] + noise).clip(0, 255).astype(np.uint8)).save(root / name)
    (root / "pool.txt").write_text("\n".join(names[:24]))
    (root / "test.txt").write_text("".join(f"{name}, {number % 6}\n" for number, name in enumerate(names)))
    vectors = np.repeat(COLOURS[None] / 255, 8, axis=0).reshape(48, 3) + random.normal(0, 0.01, (48, 3))
    np.savez(root / "teacher.npz", ids=np.array(names), embeddings=vectors.astype(np.float32))
    settings = Settings.of(
        dataset="lists", data_dir=str(root), teacher=str(root / "teacher.npz"), workdir=str(root / "work"),
        query_budget=24, image_size=16, embedding_dim=8, steps=60, batch_size=12, mixtures=8, bank_size=16,
        price_per_query=0.5, benchmark_runs=5, top_k=5, export_if_not_better=True,
    )  # fmt: skip
    main.run_stages(settings, ["ask", "distill", "evaluate", "export", "benchmark", "report"], redo=False)
    return root / "work"


@pytest.fixture(scope="module")
def published(run, tmp_path_factory):
    """Its published folder, alone in another place."""
    folder = tmp_path_factory.mktemp("elsewhere") / "handed over"
    assert command(["publish", f"--run={run}", f"--to={folder}"]) == 0
    return folder


@pytest.fixture
def photos(run, tmp_path):
    """Two photos of one colour and one of another, beside nothing else."""
    for name, number in (("photo.jpg", 0), ("other.jpg", 6), ("different.jpg", 1)):
        with PIL.Image.open(run.parent / f"{number}.png") as image:
            image.save(tmp_path / name, quality=95)
    return tmp_path


@pytest.mark.long
def test_it_holds_what_is_promised_with_checksums(run, published):
    card = json.loads((published / "card.json").read_text())
    files = {file.name for file in published.iterdir()}
    described = {entry["name"] for entry in card["files"]}
    sidecars = {"retriever.json", "retriever.onnx.json"}
    texts = {"README.md", "LICENCES.md", "card.json", "requirements.txt", "search.py", "embed.py", checksums.NAME}
    assert files == described | sidecars | texts | {"student.keras"}
    lines = dict(line.split("  ")[::-1] for line in (published / checksums.NAME).read_text().splitlines())
    assert lines.keys() == files - {checksums.NAME}
    for name, digest in lines.items():
        assert hashlib.sha256((published / name).read_bytes()).hexdigest() == digest
    assert card["ship"] in described
    assert f"It is **{card['ship']}**" in (published / "README.md").read_text()
    assert "it started at random" in (published / "LICENCES.md").read_text()
    # Nothing of the machine that it was made on.
    for name in sorted(texts):
        assert str(run.parent) not in (published / name).read_text(), name


@pytest.mark.long
def test_it_is_opened_without_tensorflow_and_answers_as_the_student_does(run, published, photos):
    code = """
import export, json, sys
student = export.load(sys.argv[1])
vectors = student.embed(sys.argv[2:])
print(json.dumps([vectors.tolist(), [[match.id, match.score] for match in student.search(sys.argv[2])], student.file]))
"""
    paths = [photos / name for name in ("photo.jpg", "other.jpg", "different.jpg")]
    path = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    said = ran(photos, path + only(HEAVY, code), published, *paths)
    vectors, matches, file = json.loads(said)
    keras = load_keras_file(run / "student.keras")
    size = keras.input_shape[1]
    pixels = np.stack(
        [
            np.asarray(decode(path.read_bytes(), path.name).resize((size, size), PIL.Image.Resampling.BILINEAR))
            for path in paths
        ]
    )
    expected = keras.predict(pixels, verbose=0)
    np.testing.assert_allclose(np.sum(np.array(vectors) * expected, axis=1), 1, atol=5e-3)
    assert file == json.loads((published / "card.json").read_text())["ship"]
    assert len(matches) == 5
    assert int(Path(matches[0][0]).stem) % 6 == 0
    # With one of the runtimes alone, the other kind of file is taken.
    for missing, suffix in (("onnxruntime", ".tflite"), ("ai_edge_litert", ".onnx")):
        code_of_one = code.replace("print(", "assert student.file.endswith(sys.argv[0]); print(")
        said = ran(
            photos,
            path + f"import sys; sys.argv[0] = {suffix!r}\n" + only((*HEAVY, missing), _without(missing) + code_of_one),
            published,
            *paths,
        )
        assert json.loads(said)[1][0][0] == matches[0][0]


def _without(package):
    """Returns lines after which `find_spec` says that a package is not there, as where it is not installed."""
    return (
        "import importlib.util\nfound = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *more: None if name == {package!r} else found(name, *more)\n"
    )


@pytest.mark.long
def test_its_code_needs_numpy_pillow_and_a_runtime_alone(published, photos):
    for name in ("photo.jpg", "other.jpg", "different.jpg"):
        shutil.copyfile(photos / name, published / name)
    ours = ("kdistill", "export", "absl", "tqdm", *HEAVY)
    try:
        for suffix, missing in ((".tflite", "onnxruntime"), (".onnx", "ai_edge_litert")):
            run_file = "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, '.')\n"
            run_file += "runpy.run_path(sys.argv[0], run_name='__main__')"
            program = only((*ours, missing), run_file)
            found = ran(published, program, "search.py", f"retriever{suffix}", "photo.jpg").splitlines()
            assert len(found) == 5
            scores = [float(line.split()[0]) for line in found]
            assert scores == sorted(scores, reverse=True)
            assert int(Path(found[0].split()[1]).stem) % 6 == 0
            pictures = ("photo.jpg", "other.jpg", "different.jpg")
            said = ran(published, program, "embed.py", f"student{suffix}", *pictures).splitlines()
            itself, alike, different = (float(line.split()[0]) for line in said)
            assert itself == pytest.approx(1, abs=1e-3)
            assert alike > different
        block = re.search(r"```python\n(.*?)```", (published / "README.md").read_text(), re.DOTALL)
        assert block is not None
        assert float(ran(published, only(ours, block[1]))) == pytest.approx(alike, abs=0.02)
    finally:
        for name in ("photo.jpg", "other.jpg", "different.jpg"):
            (published / name).unlink()


@pytest.mark.long
def test_a_damaged_or_foreign_folder_is_refused_by_name(published, tmp_path):
    def copy(name):
        shutil.copytree(published, tmp_path / name)
        return tmp_path / name

    with pytest.raises(KdistillError, match=r"holds no SHA256SUMS"):
        export.load(tmp_path)
    damaged = copy("damaged")
    (damaged / "student.onnx").write_bytes(b"x")
    with pytest.raises(KdistillError, match=r"student\.onnx is damaged"):
        export.load(damaged)
    lacking = copy("lacking")
    (lacking / "retriever.tflite").unlink()
    with pytest.raises(KdistillError, match=r"retriever\.tflite is missing"):
        export.load(lacking)
    leading = copy("leading")
    (leading / checksums.NAME).write_text(f"{'0' * 64}  ../student.onnx\n")
    with pytest.raises(KdistillError, match="which is no checksum and name"):
        export.load(leading)
    with pytest.raises(ArgumentError, match=r"no student's file 'retriever\.onnx'"):
        export.load(published, file="retriever.onnx")


@pytest.mark.long
def test_what_cannot_be_published_is_said(run, published, tmp_path, capsys):
    def fails(*arguments):
        assert command(["publish", *arguments]) == 1
        return capsys.readouterr().err

    assert "does not exist" in fails(f"--run={tmp_path / 'nowhere'}", f"--to={tmp_path / 'to'}")
    assert "holds no card.json" in fails(f"--run={tmp_path}", f"--to={tmp_path / 'to'}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    assert "something else" in fails(f"--run={run}", f"--to={tmp_path / 'mine'}")
    changed = tmp_path / "changed"
    shutil.copytree(run, changed)
    (changed / "student.tflite").write_bytes(b"x")
    assert "student.tflite is not the file that" in fails(f"--run={changed}", f"--to={tmp_path / 'to'}")
    assert not (tmp_path / "to").exists()
    # An older published folder is replaced.
    (published / "old.txt").touch()
    assert command(["publish", f"--run={run}", f"--to={published}"]) == 0
    assert not (published / "old.txt").exists()
