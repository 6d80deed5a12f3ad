"""A whole run in the teacher's own space: rows, controls, what is searched, and vectors that were known before."""

import json

import numpy as np
import PIL.Image
import pytest

import main
from export.retriever import Retriever
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import Settings
from kdistill.settings.checks import check, check_effects
from kdistill.settings.effects import without_effect
from kdistill.stages.asking.held_out import learning_pool
from kdistill.stages.distilling.answered import answered
from kdistill.stages.judging.evaluate import load_student
from kdistill.stages.library import SPACE
from kdistill.stages.opening.sources import data_of
from kdistill.stages.space import read_space
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger

pytestmark = pytest.mark.long

POOL, TEST, BUDGET, DIMENSION, KEPT = 40, 24, 12, 10, 6
STAGES = ["ask", "space", "assist", "distill", "evaluate", "export", "report"]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy photos of six colours, a teacher that is a table of them, and a table of the first half of the pool."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    colours, directions = random.integers(30, 226, (6, 3)), random.normal(size=(6, DIMENSION))
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
            vectors.append(directions[label] + 0.2 * random.normal(size=DIMENSION))
        (folder / f"{role}.txt").write_text("\n".join(lines) + "\n")
    vectors = np.array(vectors, np.float32)
    np.savez(folder / "teacher.npz", ids=np.array(ids), embeddings=vectors)
    half = POOL // 2
    gone = random.normal(size=(5, DIMENSION)).astype(np.float32)
    names = np.array([*ids[:half], *(f"gone_{number}" for number in range(5))])
    np.save(folder / "known.npy", np.concatenate([vectors[:half], gone]))
    (folder / "known.txt").write_text("\n".join(names) + "\n")
    np.savez(folder / "other.npz", ids=np.array(ids), embeddings=vectors[:, :4])
    return folder


def settings_of(photos, workdir, **changes) -> Settings:
    values = {
        "dataset": "lists",
        "data_dir": str(photos),
        "pool_file": "pool.txt",
        "gallery_file": "test.txt",
        "teacher": str(photos / "teacher.npz"),
        "workdir": str(workdir),
        "space": "teacher",
        "query_budget": BUDGET,
        "judge_queries": 8,
        "embedding_dim": KEPT,
        "alpha": 0.25,
        "steps": 6,
        "batch_size": 8,
        "mixtures": 8,
        "evaluations": 2,
        "top_k": 3,
        "export_if_not_better": True,
    }
    return Settings.of(**{**values, **changes})


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "work"
    settings = settings_of(photos, folder, gallery_vectors=str(photos / "known.npy"))
    main.run_stages(settings, STAGES, redo=False)
    return folder, json.loads((folder / "metrics.json").read_text())


def test_the_table_has_both_searches_and_their_controls(run):
    folder, metrics = run
    rows = {row["name"]: row for row in metrics["rows"]}
    across = ["teacher_projected", "student_asymmetric", "teacher_queries", "random_head"]
    assert list(rows) == ["teacher", "student", *across, "untouched"]
    assert all(0 < rows[name]["map"] <= 1 for name in rows)
    assert all("overlap_at_10" in rows[name] for name in ("student", "student_asymmetric", "random_head"))
    assert {rows[name]["dimension"] for name in ("student", *across)} == {KEPT}
    assert rows["teacher"]["dimension"] == DIMENSION
    text = (folder / "report.html").read_text()
    assert "6 of 10 dimensions" in text
    assert "answers for 20 photos at no question" in text


def test_what_was_known_before_costs_nothing_and_is_ranked(run, photos):
    folder, metrics = run
    assert metrics["known_before"] == POOL // 2
    assert metrics["queries"] == BUDGET
    with np.load(folder / "answers.npz") as answers:
        ids = answers["ids"].tolist()
    assert len(ids) == POOL // 2 + BUDGET
    assert set(ids[: POOL // 2]) == {f"pool_{number}.png" for number in range(POOL // 2)}
    with Ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.summary().imported == POOL // 2
    assert metrics["space"]["known_without_question"] == 5
    with np.load(folder / "space.npz") as space:
        assert space["known"].shape == (POOL // 2 + BUDGET + 5, KEPT)
        axes = space["axes"]
    assert axes.shape == (DIMENSION, KEPT)


def test_what_is_searched_are_the_teachers_vectors_in_the_dimensions_that_are_kept(run, photos):
    folder, metrics = run
    assert metrics["searched"] == "teacher"
    with np.load(photos / "teacher.npz") as table, np.load(folder / "space.npz") as space:
        wanted = unit(table["embeddings"][POOL:] @ space["axes"])
    with np.load(folder / "gallery.npz") as gallery:
        assert str(gallery["searched"]) == "teacher"
        np.testing.assert_allclose(gallery["embeddings"], wanted, atol=1e-5)
    student = load_student(Workdir(folder), Settings())
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    queries = student.predict(pixels, verbose=0)
    expected = np.argsort(-(queries @ wanted.T), axis=1, kind="stable")[:, :3]
    for name in ("retriever.tflite", "retriever.onnx"):
        retriever = Retriever(folder / name)
        for image, rows in zip(pixels, expected, strict=True):
            assert [hit.id for hit in retriever.search(image)] == [f"test_{row}.png" for row in rows]


def test_the_gate_judges_the_pair(run):
    folder, metrics = run
    card = json.loads((folder / "card.json").read_text())
    assert card["sample"]["searched"] == "teacher"
    assert card["space"]["dimension"] == KEPT
    assert card["quality"]["name"] == "student_asymmetric"
    row = next(row for row in metrics["rows"] if row["name"] == "student_asymmetric")
    for file in card["files"]:
        assert file["passed"]
        assert file["map_student"] == pytest.approx(row["map"], abs=1e-6)


def test_an_assistant_answers_in_the_same_space_and_true_vectors_come_first(photos, tmp_path):
    settings = settings_of(
        photos,
        tmp_path,
        assistant_backbone="small_cnn",
        assistant_image_size=32,
        assistant_steps=4,
        assistant_if_better=False,
        embedding_dim=0,
    )
    main.run_stages(settings, ["ask", "space", "assist", "distill", "evaluate"], redo=False)
    with np.load(tmp_path / "assistant.npz") as answers:
        assert answers["embeddings"].shape == (POOL, DIMENSION)
    rows = {row["name"]: row for row in json.loads((tmp_path / "metrics.json").read_text())["rows"]}
    assert rows["student_asymmetric"]["dimension"] == DIMENSION
    assert "teacher_projected" not in rows
    workdir = Workdir(tmp_path)
    taught = answered(
        settings, workdir, learning_pool(settings, workdir, data_of(settings)), read_space(settings, workdir)
    )
    with np.load(photos / "teacher.npz") as table, np.load(tmp_path / "answers.npz") as answers:
        true = dict(zip(table["ids"].tolist(), unit(table["embeddings"]), strict=True))
        asked = set(answers["ids"].tolist())
    assert len(taught.images) == POOL
    assert len(asked) == BUDGET
    for name, target in zip(taught.images.ids, taught.targets, strict=True):
        assert np.allclose(target, true[name], atol=1e-5) == (name in asked)


def test_without_the_teachers_vectors_of_the_gallery_held_out_answers_judge_its_queries(photos, tmp_path, caplog):
    settings = settings_of(photos, tmp_path, score_teacher="no")
    main.run_stages(settings, ["ask", "space", "distill", "evaluate"], redo=False)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["rows"]}
    assert "map" not in rows["student_asymmetric"]
    assert "overlap_at_10" in rows["student_asymmetric"]
    assert metrics["searched"] == "student"
    assert metrics["verdict"]["by"] == "held-out answers"
    assert "searches the student's own vectors" in caplog.text


def test_more_known_vectors_than_questions_leave_nothing_to_ask(photos, tmp_path):
    settings = settings_of(photos, tmp_path, space="own", gallery_vectors=str(photos / "teacher.npz"), judge_queries=0)
    main.run_stages(settings, ["ask"], redo=False)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["known_before"] == POOL
    assert metrics["queries"] == 0
    assert SPACE.needed(settings) is False


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hash_bits": 64}, "--space=teacher searches the teacher's vectors, and --hash_bits makes codes"),
        ({"loss": "rkd"}, "--loss=rkd compares the student's vectors with each other alone"),
        ({"whiten_teacher": True}, "leave out --whiten_teacher"),
        ({"whiten": "pca"}, "--whiten=pca changes the student's vectors"),
        ({"target_flops": 0.5}, "a student that shrinks has a space of its own"),
        ({"tune": 4}, "--tune=4 judges students by their own space"),
        ({"gallery_vectors": "gone.npz"}, "--gallery_vectors=gone.npz does not exist"),
        ({"gallery_vectors": "main.py"}, "--gallery_vectors=main.py is no table of vectors"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(photos, tmp_path, changes, said):
    with pytest.raises(ArgumentError, match=said):
        check(settings_of(photos, tmp_path, **changes))


def test_a_table_of_another_dimension_is_refused_before_anything_is_asked(photos, tmp_path):
    settings = settings_of(photos, tmp_path, gallery_vectors=str(photos / "other.npz"))
    with pytest.raises(KdistillError, match=r"holds vectors of 4 dimensions, and the teacher's have 10"):
        main.run_stages(settings, ["ask"], redo=False)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.summary().spent == 0


def test_a_row_without_a_direction_is_refused(photos, tmp_path):
    vectors = np.ones((3, DIMENSION), np.float32)
    vectors[1] = 0
    np.savez(tmp_path / "zeros.npz", ids=np.array(["a", "b", "c"]), embeddings=vectors)
    settings = settings_of(photos, tmp_path / "work", gallery_vectors=str(tmp_path / "zeros.npz"))
    with pytest.raises(KdistillError, match="row 1 is all 0, or not finite"):
        main.run_stages(settings, ["ask"], redo=False)


def test_weights_without_effect_are_refused():
    own = Settings.of()
    assert {"pointwise_weight", "own_weight"} <= without_effect(own).keys()
    teacher = Settings.of(space="teacher")
    assert "bank_size" in without_effect(teacher)
    assert "own_weight" not in without_effect(teacher)
    assert "bank_size" not in without_effect(teacher.changed(own_weight=1.0))
    assert "pointwise_weight" in without_effect(teacher.changed(loss="regression"))
    with pytest.raises(ArgumentError, match="--own_weight has no effect with --space=own"):
        check_effects(own, ["own_weight"])
