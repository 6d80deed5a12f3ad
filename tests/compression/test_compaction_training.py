"""The three phases: shares of the steps, a target that is met, the same student wherever it pauses or is killed."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from trained import bars

from kdistill import students
from kdistill.compression import Compaction, Phase, Recipe, count_flops, phases_of, train_to_target
from kdistill.data.pipeline import training_batches
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.training.callbacks import HistoryFile, read_history
from kdistill.training.fit import pause_steps

PIXELS, LABELS = bars()
TEACHER = np.concatenate([np.eye(6)[LABELS], 0.3 * np.random.default_rng(0).normal(size=(72, 4))], 1).astype(np.float32)
TARGET = Compaction(target_flops=0.3)


@pytest.fixture(autouse=True, scope="module")
def _deterministic():
    tf.config.experimental.enable_op_determinism()


def batches(first_step, last_step):
    return training_batches(
        PIXELS, TEACHER, batch_size=24, image_size=32, first_step=first_step, last_step=last_step, seed=0, augment=False
    )


def large():
    keras.utils.set_random_seed(0)
    return students.build("small_cnn", image_size=32, embedding_dim=12)


def shrink(steps, pauses=(), compaction=TARGET, **options):
    """Returns the student at its target; `options` are those of `train_to_target` and of `Recipe`."""
    kept = {name: options.pop(name) for name in ("folder", "identity") if name in options}
    recipe = Recipe(
        build=lambda student, kind, **more: kind(
            student, interpolation=JointSpaceInterpolation(16), bank=EmbeddingBank(50), **more
        ),
        optimizer=keras.optimizers.Adam,
        loss="softmax_ranking",
        learning_rate=3e-3,
        batches=batches,
        steps=steps,
        pauses=pauses,
        verbose=0,
        **options,
    )
    return train_to_target(large(), compaction, recipe, PIXELS, TEACHER, **kept)


def bits(student):
    return [weight.tobytes() for weight in student.get_weights()]


@pytest.mark.parametrize(
    ("steps", "shares", "bounds"),
    [
        (600, (0.25, 0.6), (150, 360)),
        (10, (0.25, 0.6), (2, 6)),
        (3, (0.25, 0.6), (1, 2)),
        (3, (0.9, 0.95), (1, 2)),
        (4, (0.01, 0.02), (1, 2)),
        (101, (0.5, 0.75), (50, 76)),
    ],
)
def test_phases_are_shares_of_the_steps(steps, shares, bounds):
    compaction = Compaction(target_params=0.5, shrink_from=shares[0], shrink_until=shares[1])
    first, second = bounds
    expected = (Phase("large", 0, first), Phase("shrinking", first, second), Phase("small", second, steps))
    assert phases_of(compaction, steps) == expected


def test_every_phase_of_every_training_has_a_step():
    for steps, shares in itertools.product(range(3, 40), itertools.combinations((0.01, 0.2, 0.5, 0.9, 0.99), 2)):
        phases = phases_of(Compaction(target_flops=0.5, shrink_from=shares[0], shrink_until=shares[1]), steps)
        assert [phase.first for phase in phases] == [0, phases[0].last, phases[1].last]
        assert phases[-1].last == steps
        assert min(phase.last - phase.first for phase in phases) >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_params": 0.5}, "one of them decides"),
        ({"target_flops": 0.0}, "one of them decides"),
        ({"channel_importance": "size"}, "choose one of neighbours, loss, output"),
        ({"shrink_from": 0.7}, "one after the other"),
        ({"shrink_until": 1.0}, "one after the other"),
        ({"shrink_from": 0.0}, "one after the other"),
        ({"channel_neighbours": 0}, "at least 1"),
    ],
)
def test_wrong_compactions_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Compaction(**{"target_flops": 0.3, **options})


def test_what_cannot_be_trained_is_refused_before_it_begins():
    with pytest.raises(ArgumentError, match="three phases; 2 steps are too few"):
        shrink(2)
    with pytest.raises(KdistillError, match="is above the"):
        shrink(6, compaction=Compaction(target_params=10**9))
    recipe = Recipe(build=None, optimizer=None, loss="gram", learning_rate=1.0, batches=batches, steps=6)
    for answers in (LABELS, TEACHER.astype(np.int64), TEACHER[0]):
        with pytest.raises(ArgumentError, match="learns from vectors"):
            train_to_target(large(), TARGET, recipe, PIXELS, answers)


@pytest.mark.long
@pytest.mark.both_stacks
def test_the_target_is_met_with_a_plain_student_that_still_finds(tmp_path):
    history = tmp_path / "history.jsonl"
    small = shrink(
        240, pause_steps(240, 8), folder=tmp_path / "checkpoints", callbacks=lambda name: [HistoryFile(history)]
    )
    start = large()
    assert 0.25 * count_flops(start) < count_flops(small) <= 0.3 * count_flops(start)
    assert small.count_params() < 0.6 * start.count_params()
    assert {type(layer) for layer in small.layers} <= {type(layer) for layer in start.layers}
    assert evaluate_leave_one_out(np.asarray(small(PIXELS)), LABELS).map > 0.8
    # Pauses and the ends of the phases: 60 and 144.
    assert [line["step"] for line in read_history(history)] == [30, 60, 90, 120, 144, 150, 180, 210, 240]


@pytest.mark.long
def test_parameters_are_a_target_and_the_loss_an_importance_as_well():
    small = shrink(6, compaction=Compaction(target_params=0.5, channel_importance="loss", channel_cost_power=1.0))
    assert small.count_params() <= 0.5 * large().count_params()


class Kill(keras.callbacks.Callback):
    def __init__(self, left):
        super().__init__()
        self.left = left

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole():
    return bits(shrink(12))


@pytest.mark.long
def test_pauses_do_not_change_the_student(whole):
    assert bits(shrink(12, pause_steps(12, 4))) == whole


@pytest.mark.long
@pytest.mark.parametrize("killed", [[("shrinking", 3), ("small", 2)]])
def test_a_kill_in_any_phase_does_not_change_the_student(whole, tmp_path, killed):
    for name, after in killed:
        with pytest.raises(KeyboardInterrupt):
            shrink(
                12, pause_steps(12, 12), folder=tmp_path,
                callbacks=lambda phase, name=name, after=after: [Kill(after)] if phase == name else [],
            )  # fmt: skip
    assert bits(shrink(12, (5,), folder=tmp_path)) == whole


def test_students_between_the_phases_of_another_identity_are_not_taken_up(tmp_path, caplog):
    def build(student, kind):
        raise KeyboardInterrupt

    recipe = Recipe(build=build, optimizer=None, loss="gram", learning_rate=1.0, batches=batches, steps=6)

    def begin(target):
        with pytest.raises(KeyboardInterrupt):
            train_to_target(large(), TARGET, recipe, PIXELS, TEACHER, folder=tmp_path, identity={"target": target})

    begin(0.6)
    (tmp_path / "small.keras").touch()
    begin(0.6)
    assert (tmp_path / "small.keras").exists()
    assert not caplog.text
    begin(0.3)
    assert not (tmp_path / "small.keras").exists()
    assert f"what was in {tmp_path} is removed: target was 0.6 and is 0.3" in caplog.text
