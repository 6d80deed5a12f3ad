"""Photos, mock services, and the key that they want."""

import numpy as np
import pytest
from mock_services import KEY, serving

from kdistill.data import Image, ImageSet


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TEACHER_KEY", KEY)


@pytest.fixture
def serve():
    with serving() as start:
        yield start


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    return ImageSet([Image(f"image{index}", array=array) for index, array in enumerate(pixels)])


@pytest.fixture
def service(serve):
    """A mock that answers as Jina does."""
    return serve("jina")
