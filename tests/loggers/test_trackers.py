"""MLflow and Weights & Biases, without a network: settings, curves through an interruption, table and files."""

import json
import struct

import mlflow
import numpy as np
import PIL.Image
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

import main
from kdistill.loggers.logger import log_end, shown_settings
from kdistill.settings import Settings
from kdistill.stages.callbacks import RunContext
from kdistill.stages.workdir import Workdir
from kdistill.training.callbacks import ResumableCheckpoint, read_history

STAGES = ["ask", "distill", "evaluate", "report"]


@pytest.fixture
def settings(tmp_path):
    """Of a small run on random pictures."""
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(16)]
    for name in names:
        PIL.Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "pool.txt").write_text("\n".join(names))
    (tmp_path / "test.txt").write_text("".join(f"{name}, {row % 3}\n" for row, name in enumerate(names)))
    np.savez(tmp_path / "teacher.npz", ids=np.array(names), embeddings=random.normal(size=(16, 5)).astype(np.float32))
    return Settings.of(
        dataset="lists", data_dir=str(tmp_path), teacher=str(tmp_path / "teacher.npz"), workdir=str(tmp_path / "run"),
        query_budget=12, alpha=0.25, image_size=16, embedding_dim=6, augment=False, steps=6, batch_size=6, mixtures=4,
        bank_size=8, evaluations=6, price_per_query=0.5, export_if_not_better=True,
    )  # fmt: skip


def interrupted(settings, monkeypatch):
    """Runs, is interrupted after four epochs of training, runs again; returns the run's folder."""
    save, saved = ResumableCheckpoint.on_epoch_end, []

    def stop(self, epoch, logs=None):
        save(self, epoch, logs)
        saved.append(epoch)
        if len(saved) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumableCheckpoint, "on_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            main.run_stages(settings, STAGES, redo=False)
    main.run_stages(settings, STAGES, redo=False)
    return Workdir(settings.run.workdir, create=False)


# Of MLflow's own database, with the SQLAlchemy of today.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning")
def test_mlflow(settings, tmp_path, monkeypatch):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    workdir = interrupted(settings.changed(callbacks=("kdistill.loggers.mlflow:log",)), monkeypatch)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("kdistill")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert (run.data.params["steps"], run.data.params["backbone"]) == ("6", settings.student.backbone)
    points = client.get_metric_history(run.info.run_id, "distill/loss")
    assert {point.step: point.value for point in points} == {
        line["step"]: pytest.approx(line["loss"]) for line in read_history(workdir.history)
    }
    assert len(points) == 6
    metrics = json.loads(workdir.metrics.read_text())
    for row in metrics["rows"]:
        assert run.data.metrics[f"{row['name']}/map"] == pytest.approx(row["map"])
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"flags.txt", "metrics.json", "history.jsonl", "report.html", "student.keras", "table.json"}
    kept = client.download_artifacts(run.info.run_id, "student.keras", str(tmp_path / "downloaded"))
    with open(kept, "rb") as file:
        assert file.read() == workdir.student.read_bytes()


def test_wandb(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    workdir = interrupted(settings.changed(callbacks=("kdistill.loggers.wandb:log",)), monkeypatch)
    wandb.teardown()  # what it writes in the background is then on disk
    run_id = json.loads((workdir.path / "trackers.json").read_text())["wandb"]
    records = _records(workdir.path)
    assert {record.run.run_id for record in records if record.HasField("run")} == {run_id}
    configured = {
        item.key: json.loads(item.value_json)
        for record in records
        if record.HasField("run")
        for item in record.run.config.update
    }
    assert configured["steps"] == "6"
    logged = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    curve = {line["step"]: line["distill/loss"] for line in logged if "distill/loss" in line}
    assert curve == {line["step"]: pytest.approx(line["loss"]) for line in read_history(workdir.history)}
    assert any(key.startswith("table/") for line in logged for key in line)
    (table,) = workdir.path.glob("wandb/offline-run-*/files/media/table/*.table.json")
    assert {row[1] for row in json.loads(table.read_text())["data"]} == {"teacher", "student", "untouched"}
    summary = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records
        if record.HasField("summary")
        for item in record.summary.update
    }
    for row in json.loads(workdir.metrics.read_text())["rows"]:
        assert summary[f"{row['name']}/map"] == pytest.approx(row["map"])
    files = {
        entry.path
        for record in records
        if record.HasField("artifact") and record.artifact.type == "run"
        for entry in record.artifact.manifest.contents
    }
    assert files >= {"flags.txt", "metrics.json", "report.html", "student.keras"}


def _records(folder):
    """Returns what stands in the files of all offline runs, oldest first.

    Source: the log format of LevelDB (blocks of 32 KiB, each piece with checksum, length and kind), behind a header of
    seven bytes.
    """
    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        content, place, pieces = file.read_bytes(), 7, b""
        while place + 7 <= len(content):
            if 32768 - place % 32768 < 7:
                place += 32768 - place % 32768
                continue
            length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
            pieces += content[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # whole, or the last piece
                record = wandb_internal_pb2.Record()
                record.ParseFromString(pieces)
                found.append(record)
                pieces = b""
    return found


def test_an_address_with_a_key_is_not_sent(tmp_path):
    settings = Settings.of(
        teacher="https://user:word@example.org/embed?key=secret", ledger="postgresql+psycopg://a:b@h/d"
    )
    shown = shown_settings(settings)
    assert shown["teacher"] == "https://example.org/embed"
    assert not {value for value in shown.values() if "secret" in value or "word" in value or "a:b" in value}
    sent = []

    class Run:
        def table(self, values, rows):
            assert values == {"student/map": 0.5}
            assert rows == [{"kind": "rows", "name": "student", "map": 0.5, "note": "text"}]

        def files(self, paths):
            sent.extend(path.name for path in paths)

        def close(self):
            sent.append("closed")

    for name in ("flags.txt", "report.html", "metrics.json"):
        (tmp_path / name).write_text("x")
    figures = {"rows": [{"name": "student", "map": 0.5, "note": "text"}]}
    context = RunContext("", "", settings, tmp_path, 0, True, figures)
    log_end(context, lambda _: Run())
    assert sent == ["metrics.json", "closed"]
