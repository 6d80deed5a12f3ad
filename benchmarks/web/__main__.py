"""The search page in headless Chromium against the native interpreter, on the same photos in one run.

    python -m export web --run=runs/NAME --out=site/
    python -m benchmarks.web --site=site/ --json=benchmarks/results/web.json

Needs Chromium, and `npm ci` run in export/web (as `make test-web` does). Rounds alternate: the browser clicks through
the page's samples, then LiteRT in Python embeds the same photos with the same file on one thread.

Figures: `web_over_native_embed` (median embedding time in the page / native), `click_to_result_ms` (median from the
click on a sample to the frame that shows its neighbours, decoding and resizing included), `search_ms` (median), and
`download_mib` (bytes that the server sent until the page was ready, without samples and thumbnails).
"""

import argparse
import functools
import gzip
import http.server
import json
import os
import platform
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.console.quiet import quiet
from kdistill.data import Image, resize
from kdistill.errors import KdistillError
from kdistill.files.whole import write_json
from kdistill.runtimes.tflite import open_tflite

DRIVER = Path(__file__).with_name("driver.mjs")
MODULES = Path(__file__).parents[2] / "export/web/node_modules/playwright-core"
PICTURES = ("/samples/", "/thumbnails/")


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder and counts the bytes of the files it sends, by path."""

    def __init__(self, folder: Path) -> None:
        """Listens on a free port of this machine."""
        super().__init__(("127.0.0.1", 0), functools.partial(_CountingHandler, directory=str(folder)))
        self.sent: list[tuple[str, int]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def server_close(self) -> None:
        """Stops listening."""
        self.shutdown()
        super().server_close()

    @property
    def address(self) -> str:
        """Where browsers find it; localhost, since a service worker asks for a secure origin."""
        return f"http://localhost:{self.server_address[1]}/"


class _CountingHandler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Sends a file and notes its size."""
        content = source.read()
        self.server.sent.append((self.path, len(content)))
        outputfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


def native_embedder(site: Path, content: dict[str, Any]) -> Any:
    """Returns the site's embedder in LiteRT's native interpreter, one thread."""
    model = gzip.decompress((site / content["embedder"]["path"]).read_bytes())
    with quiet():
        return open_tflite(site, num_threads=1, content=model).get_signature_runner()


def native_round(embedder: Any, pixels: list[np.ndarray]) -> list[float]:
    """Returns the milliseconds of embedding each photo, uint8 [1, S, S, 3]."""
    times = []
    for image in pixels:
        start = time.perf_counter()
        embedder(image=image)
        times.append(1000 * (time.perf_counter() - start))
    return times


def measure(site: Path, rounds: int) -> dict[str, Any]:
    """Runs the page and the native interpreter in turn.

    Raises:
        KdistillError: the folder holds no site, or a program that drives the page is missing.
    """
    if not (site / "site.json").is_file():
        raise KdistillError(f"{site} holds no site; build one with `python -m export web`")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    node = shutil.which("node")
    if chromium is None or node is None or not MODULES.is_dir():
        raise KdistillError("this needs Chromium, Node.js and the packages that `make test-web` installs")
    content = json.loads((site / "site.json").read_text(encoding="utf-8"))
    embedder = native_embedder(site, content)
    photos = [Image(sample["path"], path=site / sample["path"]).pixels() for sample in content["samples"]]
    pixels = [resize(photo, content["image_size"])[None] for photo in photos]
    times: dict[str, list[float]] = {"native_embed": []}
    with (
        Server(site) as server,
        subprocess.Popen(
            [node, str(DRIVER), chromium, server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as driver,
    ):
        assert driver.stdin is not None
        assert driver.stdout is not None
        if json.loads(driver.stdout.readline() or "{}").get("state") != "ready":
            raise KdistillError("the page did not load; open it in a browser to see why")
        sent = [(path, count) for path, count in server.sent if not path.startswith(PICTURES)]
        with quiet():
            native_round(embedder, pixels)  # the first run allocates, and says so
        for _ in range(rounds):
            driver.stdin.write("round\n")
            driver.stdin.flush()
            for name, values in json.loads(driver.stdout.readline()).items():
                times.setdefault(name, []).extend(values)
            times["native_embed"] += native_round(embedder, pixels)
        driver.stdin.close()
    medians = {name: float(np.median(values)) for name, values in times.items()}
    return {
        "figures": {
            "web_over_native_embed": medians["embed"] / medians["native_embed"],
            "click_to_result_ms": medians["click"],
            "search_ms": medians["search"],
            "download_mib": sum(count for _, count in sent) / 2**20,
        },
        "median_ms": medians,
        "p90_ms": {name: float(np.percentile(values, 90)) for name, values in times.items()},
        "clicks": len(times["click"]),
        "gallery": content["gallery_size"],
        "image_size": content["image_size"],
        "runtime": content["runtime"]["version"],
        "downloads": sorted(sent, key=lambda pair: -pair[1]),
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine()},
    }


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, required=True, help="folder made by `python -m export web`")
    parser.add_argument("--rounds", type=int, default=8, help="times that all samples are clicked")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()
    try:
        result = measure(arguments.site, arguments.rounds)
    except KdistillError as error:
        parser.exit(error.exit_status, f"error: {error}\n")
    print(json.dumps({key: result[key] for key in ("figures", "median_ms", "p90_ms")}, indent=2))
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
