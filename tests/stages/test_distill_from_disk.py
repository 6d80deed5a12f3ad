"""The student is the same wherever its photos are kept, and a run goes on from what was decoded before."""

import numpy as np
import PIL.Image
import pytest

import main
from kdistill.data.disk import photos as photos_module
from kdistill.errors import KdistillError
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.settings import Settings
from kdistill.stages.distilling import starting as starting_module

PHOTOS = 40


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Of a run whose decoded photos take 1.7 MB."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(PHOTOS)]
    for name in names:
        PIL.Image.fromarray(random.integers(0, 256, (90, 100, 3), dtype=np.uint8)).save(root / name)
    (root / "3.png").write_bytes(b"no image")
    (root / "pool.txt").write_text("\n".join(names))
    (root / "test.txt").write_text("".join(f"{name}, {row % 3}\n" for row, name in enumerate(names)))
    answers = random.normal(size=(PHOTOS, 5)).astype(np.float32)
    np.savez(root / "teacher.npz", ids=np.array(names), embeddings=answers)
    return Settings.of(
        dataset="lists",
        data_dir=str(root),
        teacher=str(root / "teacher.npz"),
        query_budget=PHOTOS,
        backbone="small_cnn",
        image_size=96,
        embedding_dim=6,
        steps=4,
        batch_size=8,
        mixtures=4,
        bank_size=8,
        evaluations=2,
    )


def _weights(folder):
    return [weights for layer in load_keras_file(folder / "student.keras").layers for weights in layer.get_weights()]


@pytest.mark.long
def test_where_photos_are_kept_changes_nothing(settings, tmp_path):
    runs = {
        "memory": settings,
        "disk": settings.changed(max_memory_mb=1),
        "decoded anew": settings.changed(max_memory_mb=1, cache_gb=0.0),
    }
    for name, run in runs.items():
        main.run_stages(run.changed(workdir=str(tmp_path / name)), ["ask", "distill"], redo=False)
        assert (tmp_path / name / "photos").exists() == (name == "disk")
        for one, other in zip(_weights(tmp_path / name), _weights(tmp_path / "memory"), strict=True):
            np.testing.assert_array_equal(one, other)
    # Every photo that can be read was kept, once.
    assert (tmp_path / "disk" / "photos" / "120.pixels").stat().st_size == (PHOTOS - 1) * 3 * 120**2


@pytest.mark.long
def test_of_a_large_pool_only_a_part_is_decoded_before_the_first_step(settings, tmp_path, monkeypatch, caplog):
    """What cannot be read is then met in the training, and the next photo takes its place; under --strict it ends."""
    for module in (photos_module, starting_module):
        monkeypatch.setattr(module, "LOOKED_AT", 16)
    run = settings.changed(workdir=str(tmp_path / "run"), steps=6)
    with caplog.at_level("WARNING", logger="absl"):
        main.run_stages(run, ["ask", "distill"], redo=False)
    assert sum("3.png" in line and "takes its place" in line for line in caplog.messages) == 1
    strict = settings.changed(workdir=str(tmp_path / "strict"), steps=6, strict=True)
    with pytest.raises(KdistillError, match=r"3\.png"):
        main.run_stages(strict, ["ask", "distill"], redo=False)
