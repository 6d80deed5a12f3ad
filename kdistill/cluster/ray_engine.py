"""Work on a Ray cluster: items in, results out in the same order, each exactly once, whatever actors die on the way.

The engine is Ray Data (https://docs.ray.io/en/latest/data/data.html): a pool of actors, each of which makes its worker
(loads its model) once. An actor that dies is started again and its item given out again, MAX_RETRIES times.
"""

import contextlib
import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from kdistill.errors import ArgumentError, KdistillError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

ENGINES = ("local", "ray")

MAX_RETRIES = 3
"""Times that an item is given out again after its actor died: what kills an actor each time must end the job."""


def check_engine(engine: str, actors: int) -> None:
    """Raises ArgumentError for an engine that does not exist or a negative number of actors."""
    if engine not in ENGINES:
        raise ArgumentError(f"--engine={engine} is none of {', '.join(ENGINES)}")
    if actors < 0:
        raise ArgumentError(f"--actors={actors} must be 0 (one a core) or more")


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """Yields the module `ray`, connected: to the cluster in RAY_ADDRESS, or to one of this machine's cores.

    A connection that stands already is used and left open.

    Raises:
        KdistillError: Ray is not installed, or the cluster cannot be reached.
    """
    # Before the import, which reads them: nothing is sent home, and native code speaks up only when it fails.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise KdistillError(f"--engine=ray needs Ray (pip install 'kdistill[ray]'): {error}") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is told here, in a sentence
    connected = ray.is_initialized()
    if not connected:
        try:
            ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
        # Ray raises many kinds of errors here; each means the same to the user.
        except Exception as error:
            raise KdistillError(f"the Ray cluster cannot be reached: {first_line(error)}") from error
    try:
        yield ray
    finally:
        if not connected:
            ray.shutdown()


def machines(ray: Any) -> int:
    """Returns how many machines the connected cluster has."""
    return sum(bool(node["Alive"]) for node in ray.nodes())


def map_on_actors(
    make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], *, actors: int = 0
) -> Iterator[Result]:
    """Yields worker(item) for each item, in the order of the items, computed by actors that each make one worker.

    Args:
        make: makes an actor's worker; it, items and results must pickle. Actors import the same packages, and work in
            this process's folder where their machine has it, so that relative paths mean the same.
        items: what to work on.
        actors: how many, each with one core; 0 for one a core of the cluster.

    Raises:
        KdistillError: what a worker raised, or an item whose actor died MAX_RETRIES + 1 times.
    """
    rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
    if not rows:
        return
    with ray_cluster() as ray:
        actors = actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
        with warnings.catch_warnings():
            # The limit on retries has no other way in yet (setup.cfg bounds the version).
            warnings.simplefilter("ignore", DeprecationWarning)
            data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _Worker,
                fn_constructor_args=(pickle.dumps(make), os.getcwd()),
                compute=ray.data.ActorPoolStrategy(size=min(actors, len(rows))),
                num_cpus=1,
                ray_remote_args_fn=_remote_arguments,
            )
        data.context.execution_options.preserve_order = True
        data.context.enable_progress_bars = False
        expected = 0
        try:
            for row in data.iter_rows():
                if row["number"] != expected:
                    raise KdistillError(f"the cluster gave result {row['number']} where {expected} was due")
                expected += 1
                if row["fault"]:
                    raise (ArgumentError if row["status"] == ArgumentError.exit_status else KdistillError)(row["fault"])
                yield pickle.loads(row["result"])  # of our own actors
        except ray.exceptions.RayError as error:
            raise KdistillError(
                f"the cluster gave up on part {expected} of {len(rows)}: its actors died "
                f"{MAX_RETRIES + 1} times ({first_line(error)})"
            ) from error
        if expected != len(rows):
            raise KdistillError(f"the cluster gave {expected} of {len(rows)} results")


class _Worker:
    """One actor's worker; faults come back as values, since Ray's own report of them is a page long."""

    def __init__(self, make: bytes, folder: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        self._make = make
        self._work: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._work is None:
                self._work = pickle.loads(self._make)()
            result, fault, status = self._work(pickle.loads(row["item"])), "", 0
        except KdistillError as error:
            result, fault, status = None, str(error), error.exit_status
        # Whatever else goes wrong in a worker, such as a model's runtime, ends the job with one sentence too.
        except Exception as error:
            result, fault, status = None, f"an actor failed: {type(error).__name__}: {first_line(error)}", 1
        return {"number": row["number"], "result": pickle.dumps(result), "fault": fault, "status": status}


def _remote_arguments() -> dict[str, Any]:
    return {"max_restarts": -1, "max_task_retries": MAX_RETRIES}
