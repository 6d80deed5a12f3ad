"""MLflow: `--callbacks=kdistill.loggers.mlflow:log`; MLFLOW_TRACKING_URI says where it logs, as always in MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdistill.console.optional import optional
from kdistill.loggers.logger import Curves, known_id, log_end, remember_id, shown_settings
from kdistill.stages.callbacks import RunContext

mlflow = optional("mlflow", "mlflow")

_LONGEST = 500
"""Characters of a parameter that MLflow takes."""


class _Run:
    """A run of MLflow, through its client: the user's own active run stays as it is."""

    def __init__(self, context: RunContext) -> None:
        self._client = mlflow.MlflowClient()
        run_id = known_id(context, "mlflow")
        if run_id is None or not self._exists(run_id):
            run_id = self._create(context)
        self._id = run_id

    def curves(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def table(self, values: Mapping[str, float], rows: list[dict[str, Any]]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, name, value)
        self._client.log_dict(self._id, {"rows": rows}, "table.json")

    def files(self, paths: list[Path]) -> None:
        for path in paths:
            self._client.log_artifact(self._id, str(path))

    def close(self) -> None:
        self._client.set_terminated(self._id)

    def _exists(self, run_id: str) -> bool:
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except mlflow.MlflowException:
            return False

    def _create(self, context: RunContext) -> str:
        name = mlflow.environment_variables.MLFLOW_EXPERIMENT_NAME.get() or "kdistill"
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        run_id = str(self._client.create_run(experiment_id, run_name=context.workdir.resolve().name).info.run_id)
        for setting, value in shown_settings(context.settings).items():
            self._client.log_param(run_id, setting, str(value)[:_LONGEST])
        remember_id(context, "mlflow", run_id)
        return run_id


def log(context: RunContext) -> Curves:
    """Returns the callback."""
    return Curves(context, _Run)


def _end(context: RunContext) -> None:
    log_end(context, _Run)


log.on_run_end = _end  # type: ignore[attr-defined]
