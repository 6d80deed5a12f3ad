"""What the cluster engines cost: embedding with Ray against one process, and answers a second through the ledger.

    python -m benchmarks.cluster --json=benchmarks/results/cluster.json

Embedding: the same photos and model once in this process and once on Ray with 2 actors, in turns. Both rates are of the
steady state: from the moment that each process has done eight batches to the last row; the time to the first batch is
reported as start-up. One machine has the same cores for both, so the ratio measures the engine's overhead. It should
be at least 0.85. Run it on a machine with nothing else to do: two processes get more of a busy one than one does.

Ledger: 8 processes reserve and store answers (128 numbers each, batches of 32, commits that wait for the disk) in one
SQLite file, and in a PostgreSQL server of this machine. The clock runs from when all are connected to the last answer.
At least 2,000 and 1,000 answers a second are wanted. Batches of 1, where each answer waits for the disk by itself, are
reported beside it.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cluster.postgres_server import find_binaries, fresh_schema, postgres_server
from kdistill.errors import KdistillError, run_command
from kdistill.files.whole import write_json
from kdistill.teachers import Ledger
from kdistill.teachers.ledger.records import Question

MODEL: dict[str, Any] = {"backbone": "mobilenet_v2", "alpha": 0.35, "image_size": 96, "embedding_dim": 128}
SMOKE: dict[str, Any] = {"backbone": "small_cnn", "image_size": 16, "embedding_dim": 8}
WRITERS, DIMENSION = 8, 128


def write_answers(location: str, writer: int, batches: int, batch: int, start: Barrier) -> None:
    """One asker: reserves and stores `batches` batches of its own questions."""
    vectors = np.random.default_rng(writer).standard_normal((batch, DIMENSION), np.float32)
    with Ledger(location) as ledger:
        ledger.bind("benchmark", "view", DIMENSION)
        start.wait()
        for number in range(batches):
            asked = [Question(f"{writer}-{number}-{index}", f"{index}.jpg") for index in range(batch)]
            granted = ledger.reserve(asked, budget=1 << 30, limit=batch).granted
            ledger.store(granted, vectors)


def measure_ledger(location: str, batches: int, batch: int) -> float:
    """Returns answers a second of all writers together."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(WRITERS + 1)
    crowd = [
        context.Process(target=write_answers, args=(location, writer, batches, batch, start))
        for writer in range(WRITERS)
    ]
    for process in crowd:
        process.start()
    start.wait()
    begun = time.perf_counter()
    for process in crowd:
        process.join()
    seconds = time.perf_counter() - begun
    with Ledger(location, create=False) as ledger:
        summary = ledger.summary()
    expected = WRITERS * batches * batch
    if (summary.answered, summary.spent) != (expected, expected):
        raise KdistillError(f"{expected} answers were written, but the ledger has {summary.answered}")
    return expected / seconds


def measure_ledgers(rounds: int, answers: int) -> dict[str, dict[str, list[float]]]:
    """Returns engine -> batch size -> answers a second of each round, engines in turns."""
    binaries = find_binaries()
    if binaries is None:
        raise KdistillError("PostgreSQL is not installed (apt-get install postgresql)")
    found: dict[str, dict[str, list[float]]] = {"sqlite": {}, "postgres": {}}
    with postgres_server(binaries, durable=True) as server, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for batch, count in ((32, answers), (1, answers // 32)):
                batches = max(1, count // (WRITERS * batch))
                for engine, runs in found.items():
                    file = f"{folder}/ledger-{batch}-{number}.sqlite"
                    location = file if engine == "sqlite" else fresh_schema(server)
                    rate = measure_ledger(location, batches, batch)
                    runs.setdefault(f"batches_of_{batch}", []).append(rate)
                    print(f"{engine}, batches of {batch}: {rate:.0f} answers a second", flush=True)
    return found


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--images", type=int, default=4096, help="photos to embed")
    parser.add_argument("--answers", type=int, default=32768, help="answers to write to each ledger")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; medians count")
    parser.add_argument(
        "--smoke", action="store_true", help="a tiny model and few rows: shows that it runs, not how fast"
    )
    options = parser.parse_args()
    images, answers, rounds = (768, 512, 1) if options.smoke else (options.images, options.answers, options.rounds)
    ledgers = measure_ledgers(rounds, answers)
    # Here, since it imports TensorFlow, which the writers above, each importing this file, have no use for.
    from benchmarks.cluster.embedding import measure_embedding

    model = SMOKE if options.smoke else MODEL
    embedding = measure_embedding(model, images, rounds)
    result = {
        "figures": {
            "ray_rate_ratio": embedding["ratio"],
            "sqlite_answers_per_s": statistics.median(ledgers["sqlite"]["batches_of_32"]),
            "postgres_answers_per_s": statistics.median(ledgers["postgres"]["batches_of_32"]),
        },
        "cpus": os.cpu_count(),
        "load_at_the_end": os.getloadavg()[0],
        "embedding": {"model": model, **embedding},
        "ledger": {"writers": WRITERS, "dimension": DIMENSION, "answers_per_second": ledgers},
    }
    print(json.dumps(result, indent=2))
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    run_command(main)
