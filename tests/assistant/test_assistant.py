"""The assistant: networks of every source, learning, answering, and what a student gets from it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill import students
from kdistill.assistant import Assistant, build_assistant
from kdistill.assistant.assistant import answering
from kdistill.assistant.network import with_projection
from kdistill.errors import ArgumentError, KdistillError
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.losses import SoftmaxRanking
from kdistill.losses.two_spaces import TwoSpaces
from kdistill.training.distiller import Distiller


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(0)
    colours = random.integers(30, 226, (6, 1, 1, 3))
    labels = np.arange(48) % 6
    pixels = np.clip(colours[labels] + random.integers(-30, 31, (48, 40, 40, 3)), 0, 255).astype(np.uint8)
    return pixels, (np.eye(6)[labels] + 0.1 * random.normal(size=(48, 6))).astype(np.float32)


@pytest.fixture(scope="module")
def pooled_file(tmp_path_factory):
    image = keras.Input((64, 64, 3))
    features = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    features = keras.layers.Conv2D(12, 3, strides=2, padding="same")(features)
    features = keras.layers.BatchNormalization()(features)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(features))
    path = tmp_path_factory.mktemp("network") / "pooled.keras"
    keras.Model(image, features).save(path)
    return str(path)


def test_a_file_of_pooled_features_at_another_size(pooled_file, photos):
    source, pixels = keras.models.load_model(pooled_file), photos[0][:4, :32, :32]
    network = build_assistant(pooled_file, image_size=32, embedding_dim=8)
    assert students.image_size(network) == 32
    assert network.output_shape == (None, 8)
    at_32 = students.at_size(source, 32).predict(pixels.astype(np.float32), verbose=0)
    features = students.pooled_features(network).predict(pixels, verbose=0)
    np.testing.assert_allclose(features, at_32 / np.linalg.norm(at_32, axis=1, keepdims=True), atol=1e-5)
    kernel = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    head = with_projection(build_assistant(pooled_file, image_size=32, embedding_dim=None), kernel)
    projected = at_32 @ kernel
    expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(head.predict(pixels, verbose=0), expected, atol=1e-5)


def test_batch_normalisation_inside_a_file_is_kept(pooled_file, photos):
    assistant = Assistant.of(pooled_file, image_size=32, embedding_dim=8)
    inner = next(layer for layer in assistant.network.layers if isinstance(layer, keras.Model))
    norm = next(layer for layer in inner.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = [np.array(weight) for weight in norm.get_weights()]
    assistant.learn(photos[0], photos[1], steps=3, batch_size=8, learning_rate=0.01)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        ("vgg", ArgumentError, "'vgg' is unknown; choose one of small_cnn"),
        ("nowhere.keras", KdistillError, "nowhere.keras"),
        ("nowhere:network", ArgumentError, "^--assistant_backbone: the function 'nowhere:network'"),
    ],
)
def test_what_is_no_network_is_one_sentence(network, error, message):
    with pytest.raises(error, match=message):
        build_assistant(network)


def test_a_file_that_does_not_scale_pixels_itself_is_taken_as_it_is_said(tmp_path):
    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)).save(tmp_path / "bare.keras")
    with pytest.raises(ArgumentError, match="on which scale it takes pixels; say it with --assistant_backbone_scaling"):
        build_assistant(str(tmp_path / "bare.keras"), image_size=32)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    said = build_assistant(str(tmp_path / "bare.keras"), image_size=32, embedding_dim=None, scaling="unit")
    means = pixels.mean((1, 2))
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(said.predict(pixels, verbose=0), expected, atol=1e-5)


@pytest.mark.long
@pytest.mark.both_stacks
def test_it_learns_and_goes_on_after_an_interruption(photos, tmp_path):
    pixels, answers = photos
    asked = np.arange(24)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise InterruptedError

    def learned(folder, **options):
        keras.utils.set_random_seed(0)
        assistant = Assistant.of("small_cnn", image_size=32, embedding_dim=8)
        assistant.learn(
            pixels[asked],
            answers[asked],
            steps=60,
            batch_size=8,
            learning_rate=3e-3,
            folder=folder,
            pauses=3,
            **options,
        )
        return assistant

    whole = learned(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        learned(tmp_path / "cut", callbacks=[Stop()])
    continued = learned(tmp_path / "cut")
    for one, other in zip(whole.network.get_weights(), continued.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # Images that it never saw lie by their colours, as the teacher has them.
    vectors = whole.embed(pixels[24:])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    assert (cosines.argmax(axis=1) % 6 == np.arange(24) % 6).mean() > 0.9


def test_an_answer_is_the_mean_over_four_views():
    network = build_assistant("small_cnn", image_size=32, embedding_dim=8)
    photos = np.random.default_rng(3).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    whole = np.stack([tf.image.resize(photo, (32, 32), antialias=True).numpy().round() for photo in photos])
    views = [whole, photos[:, 4:36, 4:36].astype(np.float32)]
    views += [view[:, :, ::-1] for view in views]
    total = sum(network.predict(view.astype(np.uint8), verbose=0) for view in views)
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(answering(network)(photos), expected, atol=1e-5)
    np.testing.assert_allclose(Assistant(network).embed(photos), expected, atol=1e-5)


@pytest.mark.long
def test_a_student_learns_from_both(photos):
    pixels, answers = photos
    asked = np.arange(0, 48, 3)
    keras.utils.set_random_seed(0)
    assistant = Assistant.of("small_cnn", image_size=32, embedding_dim=8)
    assistant.learn(pixels[asked], answers[asked], steps=40, batch_size=8, learning_rate=3e-3)
    targets = assistant.targets(pixels, asked, answers[asked])
    assert targets.shape == (48, 8 + 6 + 1)
    student = students.build("small_cnn", image_size=32, embedding_dim=16, alpha=0.5)
    distiller = Distiller(student, JointSpaceInterpolation(16), EmbeddingBank(64))
    distiller.compile(keras.optimizers.Adam(3e-3), loss=TwoSpaces(SoftmaxRanking(), 8))
    seen = pixels[:, 4:36, 4:36]
    history = distiller.fit(seen, targets, batch_size=12, epochs=12, verbose=0).history["loss"]
    assert history[-1] < 0.6 * history[0]
