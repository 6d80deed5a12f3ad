"""Omniglot for `benchmarks.methods`: drawings of characters, split by alphabet, and a teacher from other alphabets.

Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program induction" (Science 2015).
"""

import zipfile
from pathlib import Path

import keras
import numpy as np

from benchmarks.methods.data import Part, Problem, cached_pixels, source_size
from kdistill.console.progress import progress_bar
from kdistill.data import Image, ImageSet, decode
from kdistill.errors import KdistillError
from kdistill.files.whole import sha256_of, whole_file
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.settings import Settings

ALPHABETS = {
    "teacher": ("Japanese_(katakana)", "Korean"),
    "pool": ("Greek", "Sanskrit"),
    "val": ("Early_Aramaic", "Tagalog"),
    "test": ("Balinese", "Latin"),
}
"""Who sees which alphabets; no alphabet has two roles. The pool's 66 characters make 1,320 drawings."""

TEACHER_SIZE = 32
_TEACHER_EPOCHS = 15
_TEACHER_DIM = 128


def read_drawings(data_dir: Path) -> dict[str, ImageSet]:
    """Returns the drawings in the roles of ALPHABETS, labelled by character.

    Args:
        data_dir: a folder with zips of SET/ALPHABET/CHARACTER/DRAWING.png; a drawing in two zips counts once.

    Raises:
        KdistillError: no zip, a damaged one, or an alphabet without a drawing.
    """
    drawings: dict[str, bytes] = {}
    for file in sorted(data_dir.glob("*.zip")):
        try:
            with zipfile.ZipFile(file) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".png") and name.count("/") == 3:
                        drawings[name.partition("/")[2]] = archive.read(name)
        except (OSError, zipfile.BadZipFile) as error:
            raise KdistillError(f"{file} cannot be read: {error}") from error
    sets = {}
    for role, alphabets in ALPHABETS.items():
        names = sorted(name for name in drawings if name.partition("/")[0] in alphabets)
        absent = set(alphabets) - {name.partition("/")[0] for name in names}
        if absent:
            raise KdistillError(f"the zips in {str(data_dir)!r} have no drawing of {', '.join(sorted(absent))}")
        characters = [name.rpartition("/")[0] for name in names]
        labels = np.unique(characters, return_inverse=True)[1]
        images = [Image(name, array=np.asarray(decode(drawings[name], name))) for name in names]
        sets[role] = ImageSet(images, labels)
    return sets


def omniglot(data_dir: Path, cache: Path, *, image_size: int | None, steps: int | None) -> Problem:
    """Returns Omniglot with a small student that starts at random, so that its BatchNorm is trained.

    Args:
        data_dir: folder with the zips.
        cache: folder for decoded drawings and the teacher, which is trained here on first use.
        image_size: side of the student's input in pixels; None for 32.
        steps: of each training; None for 600.
    """
    settings = Settings.of(
        backbone="small_cnn",
        image_size=image_size or 32,
        embedding_dim=64,
        steps=steps or 600,
        batch_size=32,
        augment=True,
    )
    sets = read_drawings(data_dir)
    at_teacher = {
        role: cached_pixels(images, TEACHER_SIZE, cache / f"{role}-{TEACHER_SIZE}.npz") for role, images in sets.items()
    }
    file = cache / "teacher.keras"
    teacher = trained_teacher(file, at_teacher["teacher"], np.asarray(sets["teacher"].labels))
    version = sha256_of(file)[:12]

    def part(role: str) -> Part:
        pixels = cached_pixels(
            sets[role], settings.student.image_size, cache / f"{role}-{settings.student.image_size}.npz"
        )
        vectors = kept_embeddings(teacher, at_teacher[role], cache / f"{role}-{version}.npy")
        return Part(pixels, np.asarray(sets[role].labels), vectors)

    larger = source_size(settings)
    sources = cached_pixels(sets["pool"], larger, cache / f"pool-{larger}.npz")
    rates = (1e-3, 2e-3, 4e-3)
    return Problem("omniglot", settings, rates, part("pool"), sources, part("val"), part("test"))


def kept_embeddings(teacher: keras.Model, pixels: np.ndarray, file: Path) -> np.ndarray:
    """Returns the teacher's embeddings, float32 [n, D], from `file` (.npy) where it exists, else computed and kept.

    Their last bits depend on the number of threads, and finished runs count only with the very same teacher.
    """
    if file.exists():
        return np.load(file)
    embeddings = np.asarray(teacher.predict(pixels, batch_size=256, verbose=0))
    with whole_file(file) as temporary:
        np.save(temporary, embeddings)
    return embeddings


def trained_teacher(file: Path, pixels: np.ndarray, labels: np.ndarray, epochs: int = _TEACHER_EPOCHS) -> keras.Model:
    """Returns the teacher from `file`, trained and kept there first where it does not exist (some minutes).

    A classifier of the characters and of their turns by 90, 180 and 270 degrees, which count as characters of their own
    (Santoro et al., ICML 2016), without its last layer.

    Args:
        file: `.keras`.
        pixels: uint8 [n, S, S, 3].
        labels: int64 [n], from 0.
        epochs: passes over the images.

    Returns:
        uint8 [B, S, S, 3] -> float32 [B, 128], L2-normalised.
    """
    if file.exists():
        return load_keras_file(file)
    keras.utils.set_random_seed(0)
    turned = np.concatenate([np.rot90(pixels, turns, axes=(1, 2)) for turns in range(4)])
    classes = int(labels.max()) + 1
    characters = np.concatenate([labels + turns * classes for turns in range(4)])
    image = keras.Input(pixels.shape[1:], dtype="uint8", name="image")
    features = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    for filters in (32, 64, 128, 128):
        features = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(features)
        features = keras.layers.BatchNormalization(momentum=0.9)(features)
        features = keras.layers.ReLU()(features)
        features = keras.layers.MaxPooling2D(2)(features)
    projected = keras.layers.Dense(_TEACHER_DIM, use_bias=False)(keras.layers.Flatten()(features))
    embedding = keras.layers.UnitNormalization(name="embedding")(projected)
    # Scaled cosines, so that the characters form clusters by angle, which is what a search compares.
    logits = keras.layers.Dense(4 * classes)(keras.layers.Rescaling(16.0)(embedding))
    classifier = keras.Model(image, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(1e-3), loss=loss, jit_compile=False)
    order = np.random.default_rng(0).permutation(len(turned))
    with progress_bar(total=epochs, description="training the teacher", unit="epoch") as bar:
        count = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.update())
        classifier.fit(turned[order], characters[order], batch_size=64, epochs=epochs, callbacks=[count], verbose=0)
    teacher = keras.Model(image, embedding, name="omniglot_teacher")
    with whole_file(file) as temporary:
        teacher.save(temporary)
    return teacher
