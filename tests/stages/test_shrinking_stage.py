"""A student that shrinks, in the stage `distill`: it meets its target and goes on after an interruption."""

import json

import keras
import numpy as np
import PIL.Image
import pytest

import main
from kdistill.compression import count_flops
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.settings import Settings
from kdistill.training.callbacks import ResumableCheckpoint


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Of a small run on random pictures."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(16)]
    for name in names:
        PIL.Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / name)
    (root / "pool.txt").write_text("\n".join(names))
    (root / "test.txt").write_text("".join(f"{name}, {row % 3}\n" for row, name in enumerate(names)))
    np.savez(root / "teacher.npz", ids=np.array(names), embeddings=random.normal(size=(16, 5)).astype(np.float32))
    return Settings.of(
        dataset="lists",
        data_dir=str(root),
        teacher=str(root / "teacher.npz"),
        query_budget=16,
        alpha=0.5,
        image_size=16,
        embedding_dim=6,
        augment=False,
        steps=12,
        batch_size=8,
        mixtures=4,
        bank_size=8,
        evaluations=6,
        target_flops=0.5,
    )


@pytest.mark.long
def test_it_meets_the_target_and_goes_on_after_an_interruption(settings, tmp_path, monkeypatch):
    whole = settings.changed(workdir=str(tmp_path / "whole"))
    main.run_stages(whole, ["ask", "distill"], redo=False)
    small = load_keras_file(tmp_path / "whole" / "student.keras")
    large = load_keras_file(tmp_path / "whole" / "checkpoints" / "large.keras")
    assert count_flops(small) <= 0.5 * count_flops(large)
    assert {type(layer) for layer in small.layers} <= {type(layer) for layer in large.layers}
    lines = (tmp_path / "whole" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 3, 4, 6, 7, 8, 10, 12]  # phases end at 3, 7 and 12

    save, saved = ResumableCheckpoint.on_epoch_end, []

    def stop(self, epoch, logs=None):
        save(self, epoch, logs)
        saved.append(epoch)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResumableCheckpoint, "on_epoch_end", stop)
    halves = settings.changed(workdir=str(tmp_path / "halves"))
    with pytest.raises(KeyboardInterrupt):
        main.run_stages(halves, ["ask", "distill"], redo=False)
    monkeypatch.undo()
    keras.backend.clear_session()
    main.run_stages(halves.changed(evaluations=2), ["ask", "distill"], redo=False)
    again = load_keras_file(tmp_path / "halves" / "student.keras")
    for one, other in zip(small.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
