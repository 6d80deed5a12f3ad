"""What Keras's users pass is honoured or refused in a sentence; a saved distiller goes on to the same bits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill import students
from kdistill.compression import CapacityDistiller, insert_compactors
from kdistill.errors import ArgumentError
from kdistill.hashing.distiller import HashDistiller
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.training.distiller import Distiller

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 8, 8, 3), np.uint8)
TEACHER = RANDOM.normal(size=(12, 5)).astype(np.float32)
LABELS = np.arange(12) % 3


@pytest.fixture(autouse=True, scope="module")
def _deterministic():
    tf.config.experimental.enable_op_determinism()


def parts(mixtures=4, bank=9):
    return {
        "interpolation": JointSpaceInterpolation(mixtures) if mixtures else None,
        "bank": EmbeddingBank(bank) if bank else None,
    }


def distiller_of(kind="plain", loss="softmax_ranking", optimizer=None, mixtures=4, bank=9, **compiled):
    keras.utils.set_random_seed(1)
    options = parts(mixtures, bank)
    student = students.build(
        "small_cnn", alpha=0.25, image_size=8, embedding_dim=5, hash_bits=8 if kind == "hash" else None
    )
    if kind == "capacity":
        distiller = CapacityDistiller(insert_compactors(student), lasso=0.02, **options)
    elif kind == "hash":
        distiller = HashDistiller(student, **options)
    else:
        distiller = Distiller(student, **options)
    distiller.compile(optimizer or keras.optimizers.Adam(0.01), loss=loss, **compiled)
    return distiller


def fit(distiller, targets=TEACHER, **options):
    return distiller.fit(PIXELS, targets, **{"batch_size": 4, "shuffle": False, "verbose": 0, **options})


@pytest.mark.parametrize(
    "arguments",
    [
        {"metrics": ["mse"]},
        {"weighted_metrics": ["mse"]},
        {"loss_weights": [0.5]},
        {"metrics": {"embedding": keras.metrics.MeanSquaredError()}},
    ],
)
def test_what_compile_does_not_take_is_refused(arguments):
    with pytest.raises(ArgumentError, match=f"takes no {next(iter(arguments))}"):
        distiller_of(**arguments)


@pytest.mark.parametrize("loss", [None, 3, ["gram"], {"a": "gram"}])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(ArgumentError, match="a loss is a name or a Keras loss"):
        distiller_of(loss=loss)


def test_labels_cannot_be_mixed():
    with pytest.raises(ArgumentError, match="contrastive learns from class labels, which cannot be mixed"):
        distiller_of(loss="contrastive")


WEIGHTS = np.ones(12, np.float32)


@pytest.mark.parametrize(
    "use",
    [
        lambda distiller: fit(distiller, sample_weight=WEIGHTS),
        lambda distiller: fit(distiller, LABELS, class_weight={0: 1.0, 1: 2.0, 2: 1.0}),
        lambda distiller: fit(distiller, validation_data=(PIXELS, TEACHER, WEIGHTS)),
        lambda distiller: distiller.evaluate(PIXELS, TEACHER, sample_weight=WEIGHTS, verbose=0),
        lambda distiller: distiller.fit(
            tf.data.Dataset.from_tensor_slices((PIXELS, TEACHER, WEIGHTS)).batch(4), shuffle=False, verbose=0
        ),
        lambda distiller: distiller.train_on_batch(PIXELS, TEACHER, sample_weight=WEIGHTS),
        lambda distiller: distiller.test_on_batch(PIXELS, TEACHER, sample_weight=WEIGHTS),
    ],
    ids=["sample_weight", "class_weight", "validation", "evaluate", "dataset", "train_on_batch", "test_on_batch"],
)
def test_weights_of_rows_are_refused(use):
    with pytest.raises(ArgumentError, match="sample_weight and class_weight are not supported"):
        use(distiller_of(mixtures=0, bank=0, loss="gram"))


def test_images_without_targets_are_refused():
    with pytest.raises(ArgumentError, match="no targets were given"):
        distiller_of(mixtures=0, bank=0).fit(PIXELS, verbose=0)


@pytest.mark.long
@pytest.mark.both_stacks
def test_evaluating_changes_nothing_and_gives_the_same_each_time():
    distiller, other = distiller_of(), distiller_of()
    fit(distiller, epochs=2)
    fit(other, epochs=2, validation_data=(PIXELS, TEACHER))
    count = int(distiller.interpolation.calls)
    found = [distiller.evaluate(PIXELS, TEACHER, batch_size=4, verbose=0) for _ in range(3)]
    assert found[0] == found[1] == found[2] > 0
    assert int(distiller.interpolation.calls) == count == 6
    for part in ("student", "bank", "interpolation"):
        kept = [getattr(one, part).get_weights() for one in (distiller, other)]
        assert [weight.tobytes() for weight in kept[0]] == [weight.tobytes() for weight in kept[1]]


def test_hash_evaluation_takes_one_view_or_two():
    distiller = distiller_of("hash")
    one = distiller.evaluate(PIXELS, TEACHER, batch_size=4, verbose=0)
    pairs = tf.data.Dataset.from_tensor_slices(((PIXELS, PIXELS[::-1]), TEACHER)).batch(4)
    assert distiller.evaluate(pairs, verbose=0) == one


VECTORS = (np.float16, np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64)


@pytest.mark.long
@pytest.mark.parametrize(
    ("mixtures", "bank"), [(0, 9), pytest.param(4, 9, marks=pytest.mark.both_stacks), (4, 0), (0, 0)]
)
def test_vectors_of_every_type_of_number_are_the_same_vectors(mixtures, bank):
    # Whole numbers up to 100 are exact in all of them.
    vectors = RANDOM.integers(0, 100, (12, 5))
    found = []
    for dtype in VECTORS if (mixtures, bank) == (0, 9) else (np.float64, np.int8):
        distiller = distiller_of(mixtures=mixtures, bank=bank, run_eagerly=True)
        history = fit(distiller, vectors.astype(dtype), epochs=2)
        distiller.evaluate(PIXELS, vectors.astype(dtype), verbose=0)
        found.append((history.history["loss"], [weight.tobytes() for weight in distiller.student.get_weights()]))
    assert np.isfinite(found[0][0]).all()
    for one in found[1:]:
        assert one == found[0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("dtype", "bank"),
    [(np.int8, 9), (np.uint8, 0), (np.int16, 9), (np.int32, 0), (np.int64, 9), (np.float32, 0), (np.float64, 9)],
)
def test_labels_of_every_type_with_and_without_a_bank(dtype, bank):
    distiller = distiller_of(mixtures=0, bank=bank, loss="contrastive", run_eagerly=True)
    expected = distiller_of(mixtures=0, bank=bank, loss="contrastive", run_eagerly=True)

    def targets(labels):
        # A bank cannot tell images of one class apart by their labels.
        return (labels, np.arange(len(labels))) if bank else labels

    for labels in (LABELS.astype(dtype), LABELS.astype(dtype)[:, None]):
        assert fit(distiller, targets(labels)).history["loss"] == fit(expected, targets(LABELS)).history["loss"]


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        ("softmax_ranking", LABELS, "softmax_ranking ranks by the teacher's vectors"),
        ("softmax_ranking", np.ones((12, 5, 2)), "softmax_ranking ranks by the teacher's vectors"),
        ("contrastive", TEACHER, "contrastive learns from class labels"),
        ("triplet_semihard", TEACHER[:, :, None], "triplet_semihard learns from class labels"),
    ],
)
def test_targets_of_another_kind_are_refused(loss, targets, message):
    with pytest.raises(ArgumentError, match=message):
        fit(distiller_of(mixtures=0, loss=loss), targets)


@pytest.mark.long
def test_a_keras_loss_without_a_mean_and_a_function_are_taken():
    expected = fit(distiller_of(mixtures=0, bank=0, loss=keras.losses.MeanSquaredError())).history["loss"]
    for loss in (keras.losses.MeanSquaredError(reduction="none"), keras.losses.mean_squared_error):
        np.testing.assert_allclose(
            fit(distiller_of(mixtures=0, bank=0, loss=loss)).history["loss"], expected, rtol=1e-5
        )


@pytest.mark.long
@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.both_stacks), "hash", "capacity"])
def test_a_saved_distiller_goes_on_to_the_same_bits(kind, tmp_path):
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 20)
    distiller = distiller_of(kind, loss="list_mle", optimizer=keras.optimizers.Adam(schedule), steps_per_execution=1)
    fit(distiller, epochs=2)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert type(loaded) is type(distiller)
    assert loaded.ranking_loss.get_config() == distiller.ranking_loss.get_config()
    assert int(loaded.optimizer.iterations) == 6
    fit(distiller, epochs=2)
    fit(loaded, epochs=2)
    states = []
    for one in (distiller, loaded):
        variables = one.optimizer.variables
        variables = variables() if callable(variables) else variables
        state = [*one.get_weights(), *(np.asarray(variable) for variable in variables)]
        states.append([weight.tobytes() for weight in state])
    assert states[0] == states[1]


def test_a_saved_distiller_keeps_how_it_runs(tmp_path):
    distiller = distiller_of(mixtures=0, bank=0, loss="gram", run_eagerly=True, steps_per_execution=1)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.run_eagerly
    assert loaded.run_options == distiller.run_options


def test_an_uncompiled_distiller_is_saved_uncompiled(tmp_path):
    student = students.build("small_cnn", alpha=0.25, image_size=8, embedding_dim=5)
    Distiller(student).save(tmp_path / "distiller.keras")
    assert not hasattr(keras.saving.load_model(tmp_path / "distiller.keras"), "ranking_loss")


NOT_TARGETS = {
    "NaN": (np.where(np.arange(12)[:, None] == 7, np.nan, TEACHER), "targets of row 7 hold values that are not finite"),
    "infinity": (np.where(np.arange(12)[:, None] == 3, np.inf, TEACHER), "targets of row 3 hold values that are not"),
    "complex numbers": (TEACHER.astype(np.complex64), "targets are real numbers; these are complex64"),
    "words": (np.array(["a"] * 12), "targets are real numbers; these are str"),
    "objects": (np.array([None] * 12), "targets are real numbers; these are object"),
    "no dimensions": (TEACHER[:, :0], "with Dt of at least 1"),
    "complex tensor": (tf.cast(TEACHER, tf.complex64), "real numbers .* complex64"),
    "ids that are no integers": ((TEACHER, np.arange(12) / 2), "ids are integers, a number for each image"),
    "NaN beside ids": ((TEACHER * np.nan, np.arange(12)), "targets of row 0 hold"),
}


@pytest.mark.parametrize("case", NOT_TARGETS)
def test_targets_that_would_train_to_nothing_are_refused(case):
    targets, words = NOT_TARGETS[case]
    distiller = distiller_of()
    with pytest.raises(ArgumentError, match=words):
        fit(distiller, targets)
    if "ids" not in case and case not in ("no dimensions", "complex tensor"):  # which are found while tracing
        for call in (distiller.evaluate, distiller.train_on_batch, distiller.test_on_batch):
            with pytest.raises(ArgumentError, match=words):
                call(PIXELS, targets)
        with pytest.raises(ArgumentError, match=words):
            fit(distiller, validation_data=(PIXELS, targets), batch_size=12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Distiller(7), "the student must be a Keras model with one output"),
        (lambda: Distiller(lambda pixels: pixels), "the student must be a Keras model with one output"),
        (lambda: Distiller(two_outputs()), "the student must be a Keras model with one output"),
        (lambda: Distiller(two_outputs(), projection_dim=4), "the student must be a Keras model with one output"),
        (lambda: Distiller(distiller_of().student, projection_dim=0), "projection's dimension must be a whole number"),
        (lambda: Distiller(distiller_of().student, projection_dim=2.5), "projection's dimension must be a whole"),
        (lambda: distiller_of(steps_per_execution=0), "steps_per_execution must be a whole number above 0"),
        (lambda: distiller_of(steps_per_execution=-2), "steps_per_execution must be a whole number above 0"),
        (lambda: distiller_of(steps_per_execution="x"), "steps_per_execution must be a whole number above 0"),
        (lambda: EmbeddingBank(2.5), "a whole number of them; size 2.5"),
        (lambda: EmbeddingBank("9"), "a whole number of them; size '9'"),
        (lambda: EmbeddingBank(True), "a whole number of them; size True"),
        (lambda: JointSpaceInterpolation(2.5), "both are whole numbers; 2.5"),
        (lambda: JointSpaceInterpolation("4"), "both are whole numbers; '4'"),
        (lambda: JointSpaceInterpolation(4, neighbours=1.5), "both are whole numbers; 4 and 1.5"),
        (lambda: JointSpaceInterpolation(4, alpha=float("nan")), "alpha must be above 0"),
    ],
)
def test_parts_that_cannot_be_right_are_refused_when_they_are_made(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def two_outputs():
    image = keras.Input((8, 8, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, [pooled, keras.layers.Dense(2)(pooled)])
