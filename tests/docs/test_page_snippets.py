"""The Python of the pages runs: each page's blocks in their order, after what the page has spoken of before."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import PIL.Image
import pytest
from shown_blocks import BLOCKS

from kdistill import students
from kdistill.assistant import Assistant
from kdistill.data.digits import digits_data, teacher_digits
from kdistill.data.layouts.revisited import revisited_data
from kdistill.evaluation import evaluate_revisited
from kdistill.evaluation.multiscale import embed_multiscale
from kdistill.layers import EmbeddingBank
from kdistill.teachers import Ledger, ask, open_teacher, plan
from kdistill.training.distiller import Distiller

pytestmark = pytest.mark.long

ELSEWHERE = {"README.md", "docs/start.md", "docs/vectors.md"}
"""Pages whose Python `test_readme.py` and `test_start_page.py` run."""
N = 24


def _with_assistant(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    image = keras.Input((96, 96, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=8)(scaled))
    keras.Model(image, features).save("efficientnet_lite0.keras")
    # The page's 300 steps are a training; two show that it is called rightly.
    monkeypatch.setattr(Assistant, "learn", functools.partialmethod(Assistant.learn, steps=2))
    distiller = Distiller(given["student"])
    return {**given, "keras": keras, "distiller": distiller, "asked": np.arange(N), "answers": given["teacher_vectors"]}


def _with_revisited(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    names = [f"photo_{number}" for number in range(6)]
    truth = [{"bbx": [0, 0, 16, 16], "easy": np.array([1, 2]), "hard": np.array([3]), "junk": np.array([0])}]
    for folder in ("roxford5k/jpg", "distractors"):
        for number, name in enumerate(names):
            path = given["folder"] / folder / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(given["photos"][number + 6 * (folder == "distractors")]).save(path)
    with open(given["folder"] / "roxford5k" / "gnd_roxford5k.pkl", "wb") as file:
        pickle.dump({"imlist": names, "qimlist": names[:1], "gnd": truth}, file)
    return {
        **given,
        "revisited_data": revisited_data,
        "evaluate_revisited": evaluate_revisited,
        "embed_multiscale": embed_multiscale,
        "query_embeddings": given["embeddings"][:1],
        "gallery_embeddings": given["embeddings"][:12],
        "images": given["set"],
        "other_embeddings": np.random.default_rng(0).normal(size=(300, 128)),
        "other_labels": np.arange(300) % 10,
    }


def _with_pool(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("MY_KEY", "a-key")
    data, known = digits_data(), teacher_digits()
    teacher = open_teacher(lambda images: np.stack([image.pixels()[::4, ::4, 0].ravel() for image in images]))
    with Ledger(given["folder"] / "earlier.sqlite") as earlier:
        first = plan(teacher, data.pool, range(10), earlier, budget=330)
    return {
        **{
            "ask": ask,
            "plan": plan,
            "teacher": teacher,
            "pool": data.pool,
            "chosen": range(10),
            "learning_plan": first,
        },
        **{"test_set": known.subset(range(5)), "ledger": Ledger(given["folder"] / "ledger.sqlite")},
    }


def _with_losses(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    given = {**given, "Distiller": Distiller, "EmbeddingBank": EmbeddingBank, "images": given["photos"]}
    return {**given, "student_vectors": given["embeddings"], "ids": np.arange(N)}


BEFORE: dict[str, Callable[[dict[str, Any], pytest.MonkeyPatch], dict[str, Any]]] = {
    "docs/assistant.md": _with_assistant,
    "docs/backbones.md": lambda given, _: given,
    "docs/callbacks.md": lambda given, _: given,
    "docs/deployment.md": lambda given, _: {**given, "ids": [f"photo {number}" for number in range(N)]},
    "docs/evaluation.md": _with_revisited,
    "docs/hashing.md": lambda given, _: {**given, "images": given["photos"]},
    "docs/losses.md": _with_losses,
    "docs/teachers.md": _with_pool,
}
"""Page -> what it has spoken of before its first block."""


def _code(page: str) -> list[str]:
    blocks = [block for block in BLOCKS if block.page == page and block.language == "python" and not block.reason]
    # A published folder is opened where one is made: `test_start_page.py`.
    return [block.text for block in blocks if "export.load(" not in block.text]


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """A student, photos and vectors as the pages call them."""
    images = digits_data().pool.subset(range(N))
    photos = np.stack([image.pixels() for image in images])
    keras.utils.set_random_seed(0)
    student = students.build("small_cnn", image_size=32, embedding_dim=128)
    vectors = np.random.default_rng(0).normal(size=(N, 128)).astype(np.float32)
    return {
        "set": images,
        "photos": photos,
        "student": student,
        "embeddings": student.predict(photos, verbose=0),
        "teacher_vectors": vectors,
    }


def test_no_page_is_left_out():
    with_python = {block.page for block in BLOCKS if block.language == "python" and not block.reason}
    assert with_python == BEFORE.keys() | ELSEWHERE


@pytest.mark.parametrize("page", BEFORE)
def test_the_python_of_a_page_runs(page, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(given["photos"][0]).save("photo.jpg")
    names = BEFORE[page]({**given, "folder": tmp_path}, monkeypatch)
    for text in _code(page):
        exec(compile(text, page, "exec"), names)
    assert _code(page)
