"""The stage `assist` in a whole run: the assistant's row, its answers, when it is left out, what follows from that."""

import json

import keras
import numpy as np
import PIL.Image
import pytest

import main
from kdistill.errors import ArgumentError
from kdistill.settings import Settings
from kdistill.stages.library import ASSIST
from kdistill.teachers import Ledger

STAGES = ["ask", "assist", "distill", "evaluate"]
POOL, TEST, BUDGET = 40, 18, 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy photos of six colours, a teacher that is a table of them, and a network that sees colours at once."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    colours = random.integers(30, 226, (6, 3))
    ids, vectors = [], []
    for role, count in (("pool", POOL), ("test", TEST)):
        lines = []
        for number in range(count):
            label = number % 6
            pixels = np.clip(colours[label] + random.integers(-60, 61, (40, 40, 3)), 0, 255).astype(np.uint8)
            name = f"{role}_{number}.png"
            PIL.Image.fromarray(pixels).save(folder / name)
            lines.append(name if role == "pool" else f"{name}, {label}")
            ids.append(name)
            vectors.append(np.eye(6)[label] + 0.1 * random.normal(size=6))
        (folder / f"{role}.txt").write_text("\n".join(lines) + "\n")
    np.savez(folder / "teacher.npz", ids=np.array(ids), embeddings=np.array(vectors, np.float32))
    image = keras.Input((32, 32, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    features = keras.layers.Conv2D(12, 3, strides=4, padding="same", name="colours")(scaled)
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(features)).save(folder / "pooled.keras")
    return folder


def settings_of(photos, workdir, **changes) -> Settings:
    values = {
        "dataset": "lists",
        "data_dir": str(photos),
        "pool_file": "pool.txt",
        "gallery_file": "test.txt",
        "teacher": str(photos / "teacher.npz"),
        "workdir": str(workdir),
        "query_budget": BUDGET,
        "embedding_dim": 8,
        "alpha": 0.25,
        "steps": 4,
        "batch_size": 8,
        "mixtures": 8,
        "evaluations": 2,
        "assistant_backbone": str(photos / "pooled.keras"),
        "assistant_image_size": 32,
        "assistant_dim": 8,
        "assistant_steps": 6,
        "assistant_if_better": False,
        "assistant_truth": 0.5,
        "export_if_not_better": True,
    }
    return Settings.of(**(values | changes))


def metrics_of(workdir) -> dict:
    return json.loads((workdir / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("assisted")
    main.run_stages(settings_of(photos, workdir), STAGES, redo=False)
    return workdir


@pytest.mark.long
def test_the_assistant_answers_for_the_whole_pool_at_no_question(finished):
    metrics = metrics_of(finished)
    with Ledger(finished / "ledger.sqlite") as ledger:
        assert ledger.summary().spent == metrics["queries"] == BUDGET
    assert metrics["assistant"]["used"] is True
    assert (metrics["assistant"]["answers"], metrics["assistant"]["further_questions"]) == (POOL, 0)
    row = next(row for row in metrics["rows"] if row["name"] == "assistant")
    assert (row["queries"], row["further_questions"], row["dimension"]) == (BUDGET, 0, 8)
    assert {line["name"] for line in metrics["rows"]} == {"teacher", "assistant", "student", "untouched"}
    with np.load(finished / "assistant.npz") as answers:
        network = keras.models.load_model(finished / "assistant.keras")
        assert len(answers["ids"]) == POOL
        assert row["parameters"] == network.count_params()
        np.testing.assert_allclose(np.linalg.norm(answers["embeddings"], axis=1), 1, atol=1e-5)


@pytest.mark.long
def test_without_it_on_a_second_run_its_figures_are_gone(photos, finished, caplog):
    settings = settings_of(photos, finished, assistant_backbone=None)
    with pytest.raises(ArgumentError, match="assistant_backbone"):
        main.run_stages(settings, ["ask", "distill"], redo=False)
    main.run_stages(settings, ["distill", "evaluate"], redo=True)
    metrics = metrics_of(finished)
    assert "assistant" not in metrics
    assert {line["name"] for line in metrics["rows"]} == {"teacher", "student", "untouched"}


@pytest.mark.long
def test_a_head_learns_vectors_too(photos, tmp_path):
    settings = settings_of(photos, tmp_path, assistant_training="head", assistant_steps=30)
    main.run_stages(settings, STAGES, redo=False)
    rows = {row["name"]: row for row in metrics_of(tmp_path)["rows"]}
    assert rows["assistant"]["map"] > 0.9
    network = keras.models.load_model(tmp_path / "assistant.keras")
    with np.load(tmp_path / "assistant.npz") as answers:
        first = np.asarray(
            PIL.Image.open(photos / str(answers["ids"][0])).resize((32, 32), PIL.Image.Resampling.BILINEAR)
        )
        np.testing.assert_allclose(network.predict(first[None], verbose=0)[0], answers["embeddings"][0], atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"assistant_backbone": "small_cnn"}, "no pretrained weights"),
        ({"query_budget": 36}, "hardly one is left"),
        ({"teacher": "noise.npz"}, "agrees no better than the student"),
    ],
)
def test_where_nothing_speaks_for_it_the_run_says_so_and_goes_on(changes, why, photos, tmp_path, caplog):
    if "teacher" in changes:
        # The network is blind: the same vector for every photo.
        image = keras.Input((32, 32, 3))
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
        blind = keras.layers.Conv2D(3, 3, kernel_initializer="zeros", bias_initializer="ones")(scaled)
        keras.Model(image, keras.layers.GlobalAveragePooling2D()(blind)).save(tmp_path / "blind.keras")
        changes = {"assistant_backbone": str(tmp_path / "blind.keras")}
    settings = settings_of(photos, tmp_path / "work", **{**changes, "assistant_if_better": True})
    main.run_stages(settings, ["ask", "assist", "distill"], redo=False)
    assert why in caplog.text
    about = metrics_of(tmp_path / "work")["assistant"]
    assert about["used"] is False
    assert why in about["why"]
    assert not (tmp_path / "work" / "assistant.keras").exists()
    assert (tmp_path / "work" / "student.keras").exists()


def test_the_student_counts_where_it_is_compared_with(photos, tmp_path):
    assert "alpha" not in ASSIST.deciding(settings_of(photos, tmp_path))
    # Hardly an image is left to answer for, so that nothing is trained here.
    settings = settings_of(photos, tmp_path, query_budget=36, assistant_if_better=True)
    main.run_stages(settings, ["ask", "assist"], redo=False)
    with pytest.raises(ArgumentError, match=r"stage 'assist' .* was run with --alpha=0.25, not 0.5"):
        main.run_stages(settings.changed(alpha=0.5), ["distill"], redo=False)


def test_the_stage_alone_without_an_assistant_is_refused(photos, tmp_path):
    with pytest.raises(ArgumentError, match="'assist' has nothing to do"):
        main.run_stages(settings_of(photos, tmp_path, assistant_backbone=None), ["assist"], redo=False)


def test_distilling_before_the_assistant_is_refused(photos, tmp_path):
    settings = settings_of(photos, tmp_path)
    main.run_stages(settings, ["ask"], redo=False)
    with pytest.raises(ArgumentError, match="run the stage 'assist' first"):
        main.run_stages(settings, ["distill"], redo=False)
