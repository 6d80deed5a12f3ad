"""Checkpoints know what they were made from: another identity begins anew, in one sentence."""

import json

import pytest
import tensorflow as tf
from small_training import batches, quick

from kdistill.errors import KdistillError
from kdistill.training.callbacks import HistoryFile, ResumableCheckpoint, read_history
from kdistill.training.fit import pause_steps, train

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True, scope="module")
def _deterministic():
    tf.config.experimental.enable_op_determinism()


IDENTITY = {"version": "1", "settings": {"steps": 4, "seed": 0}}


def train_as(identity, folder, steps=4, evaluations=2):
    """Trains with this identity in the folder; returns at which step it began."""
    distiller = quick()
    checkpoint = ResumableCheckpoint(distiller, folder / "checkpoints", identity)
    history = HistoryFile(folder / "history.jsonl", identity=identity)
    began = checkpoint.restore()
    train(
        distiller, batches, steps=steps, pauses=pause_steps(steps, evaluations), callbacks=[history],
        checkpoint=checkpoint, verbose=0,
    )  # fmt: skip
    return began


def told_steps(folder):
    return [line["step"] for line in read_history(folder / "history.jsonl")]


def test_checkpoints_of_another_identity_are_removed_with_one_sentence(tmp_path, caplog):
    assert train_as(IDENTITY, tmp_path) == 0
    assert train_as(IDENTITY, tmp_path) == 4
    assert "anew" not in caplog.text
    (tmp_path / "checkpoints" / "large.keras").touch()
    changed = {**IDENTITY, "settings": {"steps": 4, "seed": 1}}
    assert train_as(changed, tmp_path, steps=2, evaluations=1) == 0
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"training starts anew, what was in {tmp_path / 'checkpoints'} is removed: settings.seed was 0 and is 1"
    ]
    assert not (tmp_path / "checkpoints" / "large.keras").exists()
    assert json.loads((tmp_path / "checkpoints" / "made.json").read_text()) == changed
    # Lines of the other training are gone from the record, too.
    assert told_steps(tmp_path) == [2]


def test_checkpoints_without_an_identity_are_removed_when_one_is_given(tmp_path, caplog):
    train_as(None, tmp_path)
    assert train_as(IDENTITY, tmp_path) == 0
    assert "does not say what it was made from" in caplog.text
    assert train_as(None, tmp_path) == 4


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "thesis.tex").touch()
    with pytest.raises(KdistillError, match=r"holds 'thesis.tex', which is not ours to remove"):
        train_as(IDENTITY, tmp_path)


def test_a_worker_beside_the_chief_removes_nothing_and_takes_up_nothing_of_another_identity(tmp_path):
    train_as(IDENTITY, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for identity, done in ((IDENTITY, 4), ({"version": "2"}, 0)):
        follower = ResumableCheckpoint(quick(), tmp_path / "checkpoints", identity, keep=False)
        assert follower.restore() == done
    assert sorted(tmp_path.rglob("*")) == before


def test_checkpoints_of_the_layout_with_epochs_are_refused_in_a_sentence(tmp_path):
    distiller = quick()
    old = tf.train.Checkpoint(
        model=distiller, optimizer=distiller.optimizer, epoch=tf.Variable(3, dtype=tf.int64, trainable=False)
    )
    tf.train.CheckpointManager(old, str(tmp_path), max_to_keep=2).save()
    with pytest.raises(KdistillError, match=r"no checkpoint in .* can be read; delete that folder"):
        ResumableCheckpoint(distiller, tmp_path).restore()
    assert ResumableCheckpoint(quick(), tmp_path, IDENTITY).restore() == 0


def test_the_record_loses_lines_beyond_the_step_that_was_restored(tmp_path):
    train_as(IDENTITY, tmp_path, steps=4, evaluations=4)
    lines = read_history(tmp_path / "history.jsonl")
    for file in (tmp_path / "checkpoints").glob("ckpt-4.*"):
        file.write_bytes(b"")
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write(json.dumps({"step": 9, "loss": 0.0}) + "\n")
    assert train_as(IDENTITY, tmp_path, steps=4, evaluations=1) == 3
    again = read_history(tmp_path / "history.jsonl")
    assert [line["step"] for line in again] == [1, 2, 3, 4]
    assert again == lines
