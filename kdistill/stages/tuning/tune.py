"""The stage `tune`: successive halving over settings of training, judged by the held-out answers.

Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (AISTATS 2016): all are
trained for a short time, the better half for twice as long, and so on. Our reading: each training is whole, with its
own cosine, over a share of its steps.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from absl import logging

from kdistill.console.progress import progress_bar
from kdistill.errors import KdistillError
from kdistill.files.whole import read_json_object, sha256_of, write_json
from kdistill.settings import Settings
from kdistill.stages.distilling.distill import distill
from kdistill.stages.stage import Result
from kdistill.stages.tuning.candidates import candidates
from kdistill.stages.tuning.tuned import told
from kdistill.stages.workdir import Workdir
from kdistill.training.callbacks import read_history
from kdistill.version import __version__

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of its steps, how many each candidate is trained for in each round; after a round the better half goes on."""

_INPUTS = ("answers.npz", "judging.npz", "assistant.npz")


def tune(settings: Settings, workdir: Workdir) -> Result:
    """Tries `--tune` settings and writes `tuned.json`: `chosen`, the changes that judged best, and all `trials`.

    The run's own settings go through all rounds, and they stay unless others are better. Nothing is asked. Finished
    trials are kept in the folder `tuning` until the stage is done, so an interrupted one goes on.

    Raises:
        KdistillError: a training fails.
    """
    folder = workdir.path / "tuning"
    rounds = SHARES[-_rounds(settings.training.tune) :]
    going, trials = candidates(settings, settings.training.tune), []
    size = sum(math.ceil(len(going) / 2**number) for number in range(len(rounds)))
    with progress_bar(total=size, description="tuning", unit="training") as bar:
        for share in rounds:
            scores = []
            for change in going:
                scores.append(_score(settings, workdir, folder, change, share))
                trials.append({"changes": change, "share_of_steps": share, "overlap_at_10": scores[-1]})
                bar.update()
            order = sorted(range(len(going)), key=lambda place: (-scores[place], place))
            chosen = going[order[0]]
            logging.info("tuning, %.3g of the steps: best overlap@10 %.3f with %s", share, max(scores), told(chosen))
            kept = order[: math.ceil(len(going) / 2)]
            going = [change for place, change in enumerate(going) if place in kept or not change]
    write_json(workdir.tuned, {"chosen": chosen, "trials": trials})
    shutil.rmtree(folder, ignore_errors=True)
    return Result({"tuned": {"chosen": chosen, "trials": trials}}, [workdir.tuned])


def _rounds(count: int) -> int:
    """Returns how many rounds so many candidates are worth: each is to leave at least one out."""
    return min(len(SHARES), max(1, count.bit_length() - 1))


def _score(settings: Settings, workdir: Workdir, folder: Path, change: Mapping[str, Any], share: float) -> float:
    """Returns overlap@10 with the held-out answers after a training of a share of the steps, from disk where it is."""
    changed = settings.changed(**change)
    steps = max(1, round(share * changed.training.steps))
    changed = changed.changed(tune=0, steps=steps, callbacks=(), workdir=str(folder))
    inputs = [sha256_of(file) for read in _INPUTS if (file := workdir.path / read).is_file()]
    about = {"settings": changed.values(), "inputs": inputs, "version": __version__}
    name = hashlib.sha256(json.dumps(about, default=list).encode()).hexdigest()[:16]
    done = folder / f"{name}.json"
    found = read_json_object(done).get("overlap_at_10")
    if found is not None:
        return float(found)
    trial = Workdir(folder / name)
    for read in _INPUTS:
        if (workdir.path / read).is_file() and not (trial.path / read).exists():
            os.link(workdir.path / read, trial.path / read)
    keras.backend.clear_session()
    distill(changed, trial)
    score = _best(read_history(trial.history))
    write_json(done, {"overlap_at_10": score})
    shutil.rmtree(trial.path)
    return score


def _best(history: Sequence[Mapping[str, Any]]) -> float:
    """Returns the figure of the student that such a training delivers."""
    values = [line["val_overlap_at_10"] for line in history if "val_overlap_at_10" in line]
    if not values:
        raise KdistillError("a trial of --tune was not judged: there are no held-out answers")
    return float(max(values))
