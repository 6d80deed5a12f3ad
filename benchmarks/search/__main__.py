"""One-file search against what pip offers: time of one query and of 32, with queries from outside, at recall >= 0.99.

    python -m benchmarks.search --embeddings=runs/grocery/gallery.npz --json=search.json --table=search.md \
        --picture=search.png
    python -m benchmarks.search --smoke --json=smoke.json                        # a minute

Needs `pip install -e '.[race]'`; a peer whose library is missing or cannot run here is named with the reason. Three
kinds of galleries (`kinds.py`): grown from a student's embeddings (made-up ones without `--embeddings`), low-rank
vectors, random clusters; none of the 200 queries is in its gallery. All searches of a gallery take turns in one
process. Each peer runs with the quickest setting that reaches `--min_recall` on these very queries; what does not reach
it is shown and not ranked. Peers of kind graph or inverted list are built up to `--slow_up_to` rows. Galleries that
stand in the JSON file are not measured again.

Figures, the least over kinds and numbers of threads: `int8_vs_fastest_SIZE`, the time of the fastest peer with that
recall and no more bytes a row, over ours; `int8_vs_any_SIZE`, whatever its bytes; `int8_batch32_vs_fastest_SIZE`;
`recall_outside_SIZE`, ours; `bytes_a_row_SIZE`, the most of ours. A ratio is 0 where ours misses the recall.
"""

import argparse
import datetime
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.grown_gallery import read_embeddings
from benchmarks.search.kinds import HELD_OUT, make
from benchmarks.search.ours import BATCH, contestants
from benchmarks.search.peers import Peer, makers, processor, versions
from benchmarks.search.race import exact_rows, race, read_bandwidth, recall_of
from benchmarks.search.table import draw, table
from kdistill.errors import KdistillError, run_command
from kdistill.files.whole import write_json, write_whole

K = 10
KINDS = ("students", "low_rank", "clusters")


def compare(gallery: np.ndarray, queries: np.ndarray, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns what was measured of all searches on one gallery float32 [G, D] with queries [Q, D]."""
    size, exact = len(gallery), exact_rows(gallery, queries, K)
    measure = recall_of(exact, queries)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        absent, runners = {}, contestants(gallery, K, Path(folder), others=not arguments.only_int8)
        for maker in makers():
            if arguments.peers and maker.name not in arguments.peers:
                continue
            if maker.slow and size > arguments.slow_up_to:
                absent[maker.name] = f"not built above {arguments.slow_up_to} rows"
                continue
            try:
                runners.append(maker.make(gallery, K))
            except ImportError as error:
                absent[maker.name] = str(error)
        recalls = {runner.name: runner.climb(measure, arguments.min_recall) for runner in runners}
        rounds, per_turn = (15, 40) if size <= 20_000 else (12, 15) if size <= 200_000 else (9, 5)
        if arguments.smoke:
            rounds, per_turn = 2, 3
        times = {str(number): _times(runners, queries, number, rounds, per_turn) for number in arguments.num_threads}
    searches = {
        runner.name: {
            "recall": recalls[runner.name],
            "bytes_a_row": round(runner.bytes_a_row, 1),
            "build_seconds": round(runner.build_seconds, 1),
            "setting": runner.setting,
            "ms": {number: {batch: ms[runner.name] for batch, ms in here.items()} for number, here in times.items()},
        }
        for runner in runners
    }
    return {"searches": searches, "absent": absent}


def _times(
    runners: list[Peer], queries: np.ndarray, number: int, rounds: int, per_turn: int
) -> dict[str, dict[str, float]]:
    """Returns milliseconds by batch ("1" and "32") and name, with a number of threads."""
    for runner in runners:
        runner.threads(number)
    candidates = {runner.name: runner.search for runner in runners}
    batches = np.stack([queries[start : start + BATCH] for start in range(0, 4 * BATCH, BATCH)])
    return {
        "1": race(candidates, queries[:, None], rounds=rounds, per_turn=per_turn),
        str(BATCH): race(candidates, batches, rounds=max(2, rounds // 4), per_turn=2),
    }


def figures_of(results: dict[str, dict[str, Any]], min_recall: float) -> dict[str, float]:
    """Returns the figures of results by KIND/SIZE; a ratio above 1 means that we are faster."""
    found: dict[str, list[float]] = {}
    most = ("bytes_a_row",)
    for name, result in results.items():
        size = int(name.split("/")[1])
        label = f"{size // 1_000_000}m" if size >= 1_000_000 else f"{size // 1000}k"
        searches = result["searches"]
        ours = searches["ours_int8"]
        peers = [
            peer for name, peer in searches.items() if not name.startswith("ours") and peer["recall"] >= min_recall
        ]
        slim = [peer for peer in peers if peer["bytes_a_row"] <= ours["bytes_a_row"]]
        found.setdefault(f"recall_outside_{label}", []).append(ours["recall"])
        found.setdefault(f"bytes_a_row_{label}", []).append(ours["bytes_a_row"])
        for figure, rivals, batch in (
            ("int8_vs_fastest", slim, "1"),
            ("int8_vs_any", peers, "1"),
            (f"int8_batch{BATCH}_vs_fastest", slim, str(BATCH)),
        ):
            for threads in ours["ms"]:
                if rivals:
                    ratio = min(peer["ms"][threads][batch] for peer in rivals) / ours["ms"][threads][batch]
                    found.setdefault(f"{figure}_{label}", []).append(ratio if ours["recall"] >= min_recall else 0.0)
    return {name: max(values) if name.startswith(most) else min(values) for name, values in found.items()}


def main() -> None:
    """Runs what is not in the file yet, and prints it."""
    parser = argparse.ArgumentParser(description="The retriever's search against what pip offers.")
    parser.add_argument("--embeddings", type=Path, help="gallery.npz of a run, or an .npy matrix; default: made up")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--num_threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--min_recall", type=float, default=0.99, help="recall@10 below which nothing is ranked")
    parser.add_argument("--peers", nargs="+", help="only these; default: all")
    parser.add_argument("--slow_up_to", type=int, default=100_000, help="rows up to which graphs and lists are built")
    parser.add_argument("--only_int8", action="store_true", help="of ours only the int8 .tflite file")
    parser.add_argument("--smoke", action="store_true", help="2,000 rows, few turns")
    parser.add_argument("--folder", type=Path, help="where temporary files go (1.7 GB at a million rows)")
    parser.add_argument("--json", type=Path, help="where the results stand, and what is done already")
    parser.add_argument("--table", type=Path, help="where to write the table (.md)")
    parser.add_argument("--picture", type=Path, help="where to draw time against bytes a row (.png)")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.sizes, arguments.kinds = [2_000], ["students"]
    embeddings = None
    if arguments.embeddings:
        embeddings = read_embeddings(arguments.embeddings, at_least=2 * HELD_OUT)
    settings = {
        "students": arguments.embeddings.name if arguments.embeddings else "made up",
        "processor": processor(),
        "min_recall": arguments.min_recall,
    }
    content = known(arguments.json, settings)
    for size, kind in itertools.product(arguments.sizes, arguments.kinds):
        if f"{kind}/{size}" in content["results"]:
            continue
        result = compare(*make(kind, size, 0, embeddings=embeddings), arguments)
        facts = {"date": str(datetime.date.today()), "versions": versions()}
        content["results"][f"{kind}/{size}"] = result | facts
        content["read_bandwidth_gib_s"] = {str(number): read_bandwidth(number) for number in arguments.num_threads}
        content["figures"] = figures_of(content["results"], arguments.min_recall)
        print(table({f"{kind}/{size}": result | facts}, arguments.min_recall), flush=True)
        if arguments.json:
            write_json(arguments.json, content)
    for name, value in content["figures"].items():
        print(f"{name:36s} {value:.3f}")
    if arguments.table:
        write_whole(arguments.table, f"{settings['processor']}\n\n{table(content['results'], arguments.min_recall)}")
    if arguments.picture:
        draw(content["results"], arguments.min_recall, arguments.picture)


def known(path: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of the results' file with the settings, without results where there is no file.

    Raises:
        KdistillError: the file is damaged, or of other settings.
    """
    fresh: dict[str, Any] = {"figures": {}, **settings, "results": {}}
    if path is None or not path.exists():
        return fresh
    try:
        content = dict(json.loads(path.read_text()))
        there = {key: content[key] for key in settings}
        content["results"] = dict(content["results"])
    except (ValueError, KeyError, TypeError) as error:
        raise KdistillError(f"{path} holds no results of this benchmark: {error}") from error
    if there != settings:
        raise KdistillError(f"{path} was measured with {there}, not with {settings}; give another file to --json")
    return content


if __name__ == "__main__":
    run_command(main)
