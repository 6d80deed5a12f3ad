"""A dry run writes nothing, the embedded teacher included."""

import time

import keras

from kdistill.settings import Settings
from kdistill.stages.opening import models
from kdistill.teachers.providers import digits


def test_the_embedded_teacher_of_a_dry_run_goes_with_the_process(tmp_path, monkeypatch):
    trained = []

    def train(path, seed):
        trained.append(path)
        image = keras.Input((32, 32, 3), dtype="uint8")
        flat = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
        keras.Model(image, keras.layers.UnitNormalization()(flat)).save(path)

    monkeypatch.setattr(digits, "train_digits_teacher", train)
    settings = Settings().teacher
    for _ in range(2):
        models.teacher_of(settings, 0, tmp_path, keep=False)
    assert not list(tmp_path.iterdir())
    assert len(trained) == 1, "one that was made for this process serves again"
    models.teacher_of(settings, 0, tmp_path)
    assert trained[1:] == [tmp_path / "teacher.keras"]
    names = {models.teacher_of(settings, 0, tmp_path, keep=keep).name for keep in (True, False)}
    assert len(trained) == 2, "one that lies in the folder is used"
    # Its file holds the time it was made at; the teacher is the same one.
    model = keras.models.load_model(tmp_path / "teacher.keras", compile=False)
    time.sleep(1.1)
    model.save(tmp_path / "teacher.keras")
    assert names == {models.teacher_of(settings, 0, tmp_path).name}
