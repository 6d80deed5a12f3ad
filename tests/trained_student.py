"""A small trained-looking student and images with classes, shared by the tests of exported files."""

import keras
import numpy as np
import pytest

from kdistill import students

SIZE, DIMENSION, CLASSES, PER_CLASS = 16, 12, 6, 6


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """uint8 [36, 16, 16, 3]: each class one blocky pattern, each image its own noise."""
    rng = np.random.default_rng(7)
    patterns = rng.integers(0, 200, (CLASSES, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    noise = rng.integers(0, 56, (CLASSES, PER_CLASS, SIZE, SIZE, 3))
    return (patterns[:, None] + noise).reshape(-1, SIZE, SIZE, 3).astype(np.uint8)


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    """int64 [36]."""
    return np.repeat(np.arange(CLASSES), PER_CLASS)


@pytest.fixture(scope="session")
def student(pixels: np.ndarray, labels: np.ndarray) -> keras.Model:
    """small_cnn with fitted batch statistics, so that embeddings differ between images."""
    keras.utils.set_random_seed(3)
    model = students.build("small_cnn", image_size=SIZE, embedding_dim=DIMENSION)
    classifier = keras.Model(model.input, keras.layers.Dense(CLASSES)(model.output))
    classifier.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    classifier.fit(pixels, labels, epochs=12, verbose=0)
    return model


@pytest.fixture(scope="session")
def embeddings(student: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """float32 [36, 12], by Keras."""
    result = np.asarray(student.predict(pixels, verbose=0))
    assert (result @ result.T).min() < 0.9, "the fixture's embeddings must differ, or parity proves nothing"
    return result
