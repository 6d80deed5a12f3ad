"""A small site of generated photos, a server for it, and what a headless Chromium saw there."""

import dataclasses
import functools
import http.server
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "export" / "web"
SIZE = 32


def needed(condition: object, what: str) -> None:
    """Fails where something is not installed."""
    if not condition:
        pytest.fail(f"{what}; `make test-web` says how to get it")


@pytest.fixture(scope="session")
def node() -> str:
    """The Node.js program."""
    found = shutil.which("node")
    needed(found, "Node.js is not installed")
    assert found is not None
    return found


@dataclasses.dataclass(frozen=True)
class Site:
    """The site under test and what it was made from."""

    folder: Path
    student: object
    images: object
    embeddings: np.ndarray
    photos: Path


def draw(kind: int, number: int, width: int, height: int) -> np.ndarray:
    """Returns uint8 [height, width, 3]: stripes whose direction, width and colours depend on kind and number."""
    rng = np.random.default_rng([kind, number])
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    angle = kind * np.pi / 6 + rng.normal(0, 0.05)
    wave = np.sin((across * np.cos(angle) + down * np.sin(angle)) / (1.5 + kind % 3) + rng.uniform(0, 6))
    light, dark = rng.integers(120, 256, 3), rng.integers(0, 120, 3)
    pixels = np.where(wave[..., None] > 0, np.roll(light, kind), np.roll(dark, kind)).astype(float)
    return np.clip(pixels + rng.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Builds the site; fetches the runtime by npm if it is not there."""
    needed(shutil.which("npm"), "npm is not installed")
    import keras

    from export.web.runtime import runtime_packages
    from export.web.site import write_site
    from kdistill import students
    from kdistill.data import Image, ImageSet, load_pixels
    from kdistill.errors import KdistillError

    try:
        runtime_packages()
    except KdistillError as error:
        needed(False, str(error))

    photos = tmp_path_factory.mktemp("photos")
    images, labels = [], []
    for kind in range(6):
        for number in range(9):
            name = f"kind-{kind}_<b>/photo_{number}.png"
            path = photos / f"{kind}_{number}.png"
            PIL.Image.fromarray(draw(kind, number, 90 + 7 * number, 70 + 5 * kind)).save(path)
            images.append(Image(name, path=path))
            labels.append(kind)
    gallery = ImageSet(images, labels)
    keras.utils.set_random_seed(3)
    student = students.build("small_cnn", image_size=SIZE, embedding_dim=16)
    pixels = load_pixels(gallery, SIZE).pixels
    students.initialise_projection(student, students.pooled_features(student).predict(pixels, verbose=0))
    embeddings = student.predict(pixels, verbose=0)
    folder = tmp_path_factory.mktemp("web") / "site"
    write_site(folder, student=student, gallery=gallery, embeddings=embeddings, title="Stripes & <others>")
    return Site(folder, student, gallery, embeddings, photos)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


class _SlowSamples(_QuietHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/samples/"):
            time.sleep(2)
        super().do_GET()


@pytest.fixture(scope="session")
def address(built: Site) -> Iterator[str]:
    """The site as a plain static web server of the standard library serves it."""
    yield from _served(built, _QuietHandler)


@pytest.fixture
def slow_address(built: Site) -> Iterator[str]:
    """The site on a server whose samples arrive long after everything else."""
    yield from _served(built, _SlowSamples)


def _served(built: Site, kind: type[_QuietHandler]) -> Iterator[str]:
    handler = functools.partial(kind, directory=built.folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    needed(found, "Chromium is not installed")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def drive(node: str, chromium: str) -> Iterator[Callable[..., dict]]:
    """Runs a scenario of tests/web/page.mjs in a fresh profile and returns what it saw."""
    needed((WEB / "node_modules" / "playwright-core").is_dir(), "playwright-core is not installed")
    driver = subprocess.Popen(
        [node, str(ROOT / "tests/web/page.mjs"), chromium], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdin is not None
    assert driver.stdout is not None

    def run(scenario: str, **arguments: object) -> dict:
        driver.stdin.write(json.dumps({"scenario": scenario, **arguments}) + "\n")
        driver.stdin.flush()
        line = driver.stdout.readline()
        assert line, "the browser's driver ended"
        outcome = json.loads(line)
        assert "failed" not in outcome, outcome["failed"]
        return outcome["seen"]

    yield run
    driver.stdin.close()
    driver.wait(timeout=30)
    driver.stdout.close()
