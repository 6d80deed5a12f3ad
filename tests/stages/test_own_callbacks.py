"""`--callbacks`: in the training of the assistant and of the student, through an interruption, told at the end."""

import json
import sys

import numpy as np
import PIL.Image
import pytest

import main
from kdistill.errors import ArgumentError
from kdistill.settings import Settings
from kdistill.stages.callbacks import RunContext, check_callbacks, make_callbacks, tell_run_end

MINE = '''
import json
import keras


class Curve(keras.callbacks.Callback):
    """Adds a metric to the logs and writes what it saw; stands for a logger of metrics."""

    def __init__(self, context):
        super().__init__()
        self.context, self.epochs = context, 0
        self.file = context.workdir / f"{context.stage}{context.part}.jsonl"

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        logs["my_metric"] = float(self.epochs)
        with self.file.open("a") as file:
            file.write(json.dumps({"epoch": epoch, "loss": float(logs["loss"])}) + "\\n")
        if (self.context.workdir / "stop").exists() and self.epochs == 2 and self.context.stage == "distill":
            raise KeyboardInterrupt


def curve(context):
    return Curve(context)


def end(context):
    (context.workdir / "end.json").write_text(json.dumps(context.figures["queries"]))


curve.on_run_end = end


def early(context):
    return keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=3)


def nothing(context):
    return None
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's in the current folder."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def _settings(folder, **changes) -> Settings:
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(30)]
    for name in names:
        PIL.Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    (folder / "pool.txt").write_text("\n".join(names))
    (folder / "test.txt").write_text("".join(f"{name}, {row % 3}\n" for row, name in enumerate(names)))
    np.savez(folder / "teacher.npz", ids=np.array(names), embeddings=random.normal(size=(30, 5)).astype(np.float32))
    return Settings.of(
        dataset="lists", data_dir=str(folder), teacher=str(folder / "teacher.npz"), workdir=str(folder / "run"),
        query_budget=12, alpha=0.25, image_size=16, embedding_dim=6, augment=False, steps=8, batch_size=6, mixtures=4,
        bank_size=8, evaluations=8, **changes,
    )  # fmt: skip


def _context(settings, folder) -> RunContext:
    return RunContext("distill", "", settings, folder, 8, True, {})


def test_what_is_no_callback_is_refused_by_name(mine):
    for name, why in (
        ("nowhere:make", "cannot be imported"),
        ("mine:no_such", "cannot be imported"),
        ("mine:json.dumps.__doc__", "is not a function"),
        ("mine:Curve.on_epoch_end.__get__", None),
        ("mine:keras.callbacks.History", "takes one argument"),
    ):
        settings = Settings.of(callbacks=(name,))
        if why is None:
            check_callbacks(settings)
            continue
        with pytest.raises(ArgumentError, match=why):
            check_callbacks(settings)
    settings = Settings.of(callbacks=("mine:nothing",))
    check_callbacks(settings)
    with pytest.raises(ArgumentError, match="mine:nothing returns a NoneType; a Keras callback is expected"):
        make_callbacks(_context(settings, mine))


def test_they_come_in_their_order_and_hear_of_the_end(mine):
    settings = Settings.of(callbacks=("mine:early", "mine:curve"))
    assert [type(one).__name__ for one in make_callbacks(_context(settings, mine))] == ["EarlyStopping", "Curve"]
    tell_run_end(settings, mine, {"queries": 7})
    assert json.loads((mine / "end.json").read_text()) == 7


@pytest.mark.long
@pytest.mark.both_stacks
def test_they_take_part_in_every_training_and_go_on_after_an_interruption(mine):
    changes = {
        "assistant_backbone": "small_cnn",
        "assistant_image_size": 32,
        "assistant_steps": 8,
        "assistant_dim": 6,
        "assistant_if_better": False,
        "callbacks": ("mine:curve", "mine:early"),
    }
    settings = _settings(mine, **changes)
    run = mine / "run"
    run.mkdir()
    (run / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        main.run_stages(settings, ["ask", "assist", "distill"], redo=False)
    assert not (run / "end.json").exists()
    (run / "stop").unlink()
    main.run_stages(settings, ["ask", "assist", "distill"], redo=False)
    assert json.loads((run / "end.json").read_text()) == 12
    # The first epoch sets the best loss, three more are without a better one: all trainings end after the fourth.
    for stage, epochs in (("assist", [0, 1, 2, 3]), ("distill", [0, 1, 1, 2, 3])):
        lines = [json.loads(line) for line in (run / f"{stage}.jsonl").read_text().splitlines()]
        # The interruption came before the checkpoint of its epoch, which is trained again.
        assert [line["epoch"] for line in lines] == epochs
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == [1, 2, 3, 4]
    assert [line["my_metric"] for line in history] == [1, 2, 3, 4]


@pytest.mark.long
def test_other_callbacks_are_another_training(mine):
    settings = _settings(mine, callbacks=("mine:early",))
    main.run_stages(settings, ["ask", "distill"], redo=False)
    with pytest.raises(ArgumentError, match="callbacks"):
        main.run_stages(settings.changed(callbacks=()), ["distill"], redo=False)
