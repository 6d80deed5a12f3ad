"""Honest photos in any number: seeded crops, colours and compositions of two of some public photos.

Each photo is drawn from (seed, number) alone, so a catalogue that was interrupted goes on, and one of 10,000 is the
beginning of one of 100,000. No two files are equal: a draw that gives the bytes of an earlier photo is drawn again.
"""

import hashlib
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import PIL.Image

from kdistill.console.progress import progress_bar
from kdistill.data.decoding import photo_pixels
from kdistill.data.layouts.folder import find_images
from kdistill.errors import KdistillError
from kdistill.files.whole import write_whole

LONG_SIDE = 480
"""Pixels; a JPEG file of it has some 30 kB."""
QUALITY = 85
_CHUNK = 200  # photos that a process is given at a time
_A_FOLDER = 1000  # photos in one folder
_TRIES = 20


def photo_name(number: int) -> str:
    """Returns where a photo of the catalogue stands, relative to its folder."""
    return f"photos/{number // _A_FOLDER:03d}/{number:06d}.jpg"


def make_photos(
    sources: Path | str, folder: Path | str, count: int, *, seed: int = 0, long_side: int = LONG_SIDE, workers: int = 0
) -> np.ndarray:
    """Writes photos 0 .. count - 1 where they are not there yet; returns int64 [count], of which source each is.

    Args:
        sources: a folder of photos, at any depth.
        folder: where `photos/NNN/NNNNNN.jpg` are written.
        count: how many.
        seed: of all draws.
        long_side: of each photo, in pixels.
        workers: processes; 0 for one a core.

    Raises:
        KdistillError: no photo in `sources`, one that cannot be read, or sources too few for so many distinct photos.
    """
    paths = [Path(str(image.path)) for image in find_images(sources)]
    folder = Path(folder)
    parts = [range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]
    # Not forked: this process may have threads of TensorFlow.
    with (
        ProcessPoolExecutor(workers or os.cpu_count() or 1, get_context("spawn")) as pool,
        progress_bar(total=count, description="making photos") as bar,
    ):
        digests: list[bytes] = []
        made = pool.map(_make, parts, *map(itertools.repeat, (paths, folder, seed, long_side)))
        for part in made:
            digests += part
            bar.update(len(part))
    _settle_repeats(digests, paths, folder, seed, long_side)
    return np.array([source_of(number, len(paths), seed) for number in range(count)], np.int64)


def source_of(number: int, sources: int, seed: int) -> int:
    """Returns which source photo fills most of photo `number`; by it two photos show the same thing."""
    return int(np.random.default_rng((seed, number)).integers(sources))


def drawn_photo(paths: Sequence[Path], number: int, *, seed: int, long_side: int, attempt: int = 0) -> bytes:
    """Returns a photo as the bytes of a JPEG file.

    A crop of 30 to 100 % of the area with sides of 3:4 to 4:3, mirrored half of the time; each colour by a gain of
    0.75 to 1.25 and a gamma of 0.8 to 1.25; on every third photo a crop of another one over 15 to 35 % of the area.

    Args:
        paths: the sources.
        number: which photo of the catalogue.
        seed: of the catalogue.
        long_side: in pixels.
        attempt: another one draws anew, from the same source.
    """
    rng = np.random.default_rng((seed, number, attempt))
    source = source_of(number, len(paths), seed)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = (round(long_side * min(1.0, side)) for side in (ratio, 1 / ratio))
    photo = _recoloured(_crop(paths[source], (width, height), rng), rng)
    if rng.random() < 1 / 3:
        share = np.sqrt(rng.uniform(0.15, 0.35))
        size = (round(width * share), round(height * share))
        other = _recoloured(_crop(paths[int(rng.integers(len(paths)))], size, rng), rng)
        photo.paste(other, (int(rng.integers(width - size[0] + 1)), int(rng.integers(height - size[1] + 1))))
    buffer = io.BytesIO()
    photo.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()


def _crop(path: Path, size: tuple[int, int], rng: np.random.Generator) -> PIL.Image.Image:
    photo = PIL.Image.fromarray(photo_pixels(path))
    ratio = size[0] / size[1]
    area = rng.uniform(0.3, 1.0) * photo.width * photo.height
    width = min(np.sqrt(area * ratio), photo.width, photo.height * ratio)
    height = min(width / ratio, photo.height)  # which rounding may exceed
    left, top = rng.random(2) * (photo.width - width, photo.height - height)
    box = (left, top, left + width, top + height)
    crop = photo.resize(size, PIL.Image.Resampling.BICUBIC, box=box)
    return crop.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _recoloured(photo: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    levels = np.linspace(0, 1, 256)
    gains, gammas = rng.uniform(0.75, 1.25, 3), np.exp(rng.uniform(np.log(0.8), np.log(1.25), 3))
    curves = [255 * np.clip(gain * levels**gamma, 0, 1) for gain, gamma in zip(gains, gammas, strict=True)]
    return photo.point(np.rint(np.concatenate(curves)).astype(int).tolist())


def _make(numbers: Sequence[int], paths: Sequence[Path], folder: Path, seed: int, long_side: int) -> list[bytes]:
    """Returns the digests of some photos, after those that were missing are written."""
    return [
        hashlib.sha256(_made(folder / photo_name(number), paths, number, seed, long_side)).digest()
        for number in numbers
    ]


def _made(file: Path, paths: Sequence[Path], number: int, seed: int, long_side: int) -> bytes:
    if file.exists():
        return file.read_bytes()
    content = drawn_photo(paths, number, seed=seed, long_side=long_side)
    # Not by `write_whole`, which waits for the disk: twenty minutes for 120,000 files that anyone can draw again.
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_bytes(content)
    part.replace(file)
    return content


def _settle_repeats(digests: Sequence[bytes], paths: Sequence[Path], folder: Path, seed: int, long_side: int) -> None:
    seen: set[bytes] = set()
    for number, digest in enumerate(digests):
        if digest in seen:
            for content in _further(paths, number, seed, long_side):
                digest = hashlib.sha256(content).digest()
                if digest not in seen and digest not in digests:
                    write_whole(folder / photo_name(number), content)
                    break
            else:
                raise KdistillError(
                    f"{len(paths)} photos are too few or too plain to draw {len(digests)} distinct ones"
                )
        seen.add(digest)


def _further(paths: Sequence[Path], number: int, seed: int, long_side: int) -> Iterator[bytes]:
    for attempt in range(1, _TRIES):
        yield drawn_photo(paths, number, seed=seed, long_side=long_side, attempt=attempt)
