"""Weights & Biases: `--callbacks=kdistill.loggers.wandb:log`. WANDB_PROJECT, WANDB_MODE=offline and others hold."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdistill.console.optional import optional
from kdistill.loggers.logger import Curves, known_id, log_end, remember_id, shown_settings
from kdistill.stages.callbacks import RunContext

wandb = optional("wandb", "wandb")


class _Run:
    """A run of Weights & Biases; each training and the end of a command continue the same one."""

    def __init__(self, context: RunContext) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "kdistill"),
            name=context.workdir.resolve().name,
            id=known_id(context, "wandb"),
            resume="allow",
            reinit="finish_previous",
            dir=str(context.workdir),
            config=shown_settings(context.settings),
            settings=wandb.Settings(silent=True),
        )
        remember_id(context, "wandb", self._run.id)
        # Curves are drawn over the steps of the training: the tracker's own count goes on from one stage to the next.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def curves(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "step": step})

    def table(self, values: Mapping[str, float], rows: list[dict[str, Any]]) -> None:
        self._run.summary.update(dict(values))
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[None if row.get(column) is None else str(row[column]) for column in columns] for row in rows]
        self._run.log({"table": wandb.Table(columns=columns, data=cells)})

    def files(self, paths: list[Path]) -> None:
        artifact = wandb.Artifact(f"run-{self._run.id}", type="run")
        for path in paths:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self) -> None:
        self._run.finish()


def log(context: RunContext) -> Curves:
    """Returns the callback."""
    return Curves(context, _Run)


def _end(context: RunContext) -> None:
    log_end(context, _Run)


log.on_run_end = _end  # type: ignore[attr-defined]
