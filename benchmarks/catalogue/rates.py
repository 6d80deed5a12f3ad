"""The training rate with photos from the disk, and decoded afresh, as a share of that with photos in memory.

    python -m benchmarks.catalogue.rates --data_dir=DIR --list=pool-1000.txt --json=FILE

One student, one joint space, the same steps; the three take turns, and medians are compared. Everything that is kept is
there before the first timed step.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from kdistill import losses, students
from kdistill.data.disk.photos import Photos, key_of
from kdistill.data.disk.stores import DiskStore, MemoryStore, Store
from kdistill.data.identity import identities
from kdistill.data.layouts.lists import read_list
from kdistill.data.pipeline import training_batches
from kdistill.errors import run_command
from kdistill.files.whole import write_json
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.training.distiller import Distiller

_BATCH, _MARGIN = 32, 1.25


def measure(
    data_dir: Path, name: str, kept: Path, *, photos: int, steps: int, rounds: int, size: int
) -> dict[str, float]:
    """Returns `rate_from_disk`, `rate_decoding`, and steps a second of each way.

    Args:
        data_dir: of the photos.
        name: of their list.
        kept: the folder of decoded photos; removed by the caller.
        photos: how many of the list.
        steps: of a timed part.
        rounds: timed parts of each way; one more goes before.
        size: side of the student's input.
    """
    images = read_list(data_dir, name, labelled=False)
    images = images.subset(np.arange(min(photos, len(images))))
    digests = list(identities(images).values())
    keys = {key for digest in digests if (key := key_of(digest)) is not None}
    side = round(size * _MARGIN)
    stores: dict[str, Store] = {
        "memory": MemoryStore(len(images), side),
        "disk": DiskStore(kept, side, limit=10**12, keys=keys, wanted=len(keys), made={}),
        "decoding": MemoryStore(0, side),
    }
    sources = {way: Photos(images, side, store, digests) for way, store in stores.items()}
    for way in ("memory", "disk"):
        sources[way].look(np.arange(len(images)), side, f"filling the {way}").finish()
    answers = np.random.default_rng(0).normal(size=(len(images), 64)).astype(np.float32)
    small = size < 96
    student = students.build(
        "small_cnn" if small else "mobilenet_v2", alpha=1.0 if small else 0.35, image_size=size, embedding_dim=128
    )
    distiller = Distiller(student, JointSpaceInterpolation(64, seed=0), EmbeddingBank(1024))
    distiller.compile("adam", loss=losses.get("softmax_ranking"))
    times: dict[str, list[float]] = {way: [] for way in sources}
    for number in range(rounds + 1):
        for way, source in sources.items():
            first = number * steps
            batches = training_batches(
                source,
                answers,
                batch_size=min(_BATCH, len(images)),
                image_size=size,
                first_step=first,
                last_step=first + steps,
                seed=0,
                augment=True,
            )
            began = time.perf_counter()
            distiller.fit(batches, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)
            if number:  # the first round builds graphs
                times[way].append(time.perf_counter() - began)
    rates = {way: steps / float(np.median(took)) for way, took in times.items()}
    return {
        "rate_from_disk": rates["disk"] / rates["memory"],
        "rate_decoding": rates["decoding"] / rates["memory"],
        **{f"steps_per_second_{way}": rate for way, rate in rates.items()},
    }


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--list", required=True)
    parser.add_argument("--kept", type=Path, required=True, help="folder for decoded photos")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    found = measure(
        given.data_dir,
        given.list,
        given.kept,
        photos=given.photos,
        steps=given.steps,
        rounds=given.rounds,
        size=given.size,
    )
    write_json(given.json, found)


if __name__ == "__main__":
    run_command(main)
