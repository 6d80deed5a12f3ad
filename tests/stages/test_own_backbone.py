"""A run whose networks the user brings: through all stages, and others under their names undo it."""

import json
import sys

import numpy as np
import PIL.Image
import pytest

import main
from export.publish.folder import publish
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import Settings
from kdistill.stages.opening.inputs import Inputs

NETWORK = """
import keras

@keras.saving.register_keras_serializable("nets")
class Doubled(keras.layers.Layer):
    def call(self, inputs): return inputs * 2.0

def network(size):
    image = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    return keras.Model(image, Doubled()(keras.layers.Conv2D(6, 3, strides=2, activation="relu")(scaled)))

def unscaled(size):
    image = keras.Input((size, size, 3))
    return keras.Model(image, keras.layers.Conv2D(6, 3)(image))
"""


LARGER = """
import keras

def network(size):
    image = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    return keras.Model(image, keras.layers.Conv2D(12, 3, strides=2, activation="relu")(scaled))
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Modules `nets` and `larger` of the user's in the current folder, and a run's data beside them."""
    (tmp_path / "nets.py").write_text(NETWORK)
    (tmp_path / "larger.py").write_text(LARGER)
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(24)]
    vectors = []
    for number, name in enumerate(names):
        colour = np.eye(3)[number % 3] * 150
        pixels = (colour + random.integers(0, 100, (16, 16, 3))).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / name)
        vectors.append(np.eye(5)[number % 3] + 0.2 * random.normal(size=5))
    (tmp_path / "pool.txt").write_text("\n".join(names))
    (tmp_path / "test.txt").write_text("".join(f"{name}, {number % 3}\n" for number, name in enumerate(names)))
    np.savez(tmp_path / "teacher.npz", ids=np.array(names), embeddings=np.array(vectors, np.float32))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("nets", "larger"):
        sys.modules.pop(name, None)


def _settings(folder, **changes) -> Settings:
    values = {
        "dataset": "lists", "data_dir": str(folder), "teacher": str(folder / "teacher.npz"), "query_budget": 16,
        "judge_queries": 0, "workdir": str(folder / "run"), "backbone": "nets:network", "image_size": 19,
        "embedding_dim": 4, "trust_packages": ("nets",), "steps": 12, "batch_size": 8, "mixtures": 4, "evaluations": 1,
        "augment": False, "export_if_not_better": True, "top_k": 3,
    }  # fmt: skip
    return Settings.of(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "nets:unscaled", "trust_packages": ()}, "--backbone_scaling"),
        ({"trust_packages": ()}, "--trust_packages=nets"),
        ({"pooling": "cls"}, "pooling 'cls' does not suit nets:network"),
        ({"backbone": "nets:nowhere"}, "cannot be imported"),
        ({"assistant_backbone": "nets:unscaled"}, "say it with --assistant_backbone_scaling"),
        ({"assistant_backbone": "nets:nowhere"}, "the function 'nets:nowhere' cannot be imported"),
    ],
)
def test_it_is_refused_before_anything_is_asked(changes, message, nets):
    with pytest.raises(KdistillError, match=message):
        main.run_stages(_settings(nets, **changes), ["ask"], False)
    assert not list(nets.rglob("*.sqlite"))


@pytest.mark.parametrize(("setting", "of"), [("backbone", "weights"), ("assistant_backbone", "assistant")])
def test_the_record_knows_its_content(setting, of, nets):
    settings = _settings(nets, **{setting: "nets:network"})
    (nets / "run").mkdir()
    before = Inputs(settings, nets / "run").digest(of)
    (nets / "nets.py").write_text(NETWORK + "\n# another network\n")
    assert "" != before != Inputs(settings, nets / "run").digest(of)
    assert Inputs(settings.changed(**{setting: "small_cnn"}), nets / "run").digest(of) == ""


@pytest.mark.long
def test_a_whole_run_ends_in_files_and_another_network_undoes_it(nets, tmp_path):
    assistant = {"assistant_backbone": "larger:network", "assistant_image_size": 24, "assistant_steps": 2}
    settings = _settings(nets, **assistant, assistant_if_better=False)
    main.run_stages(settings, ["ask", "assist", "distill", "evaluate", "export", "report"], False)
    run = nets / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["assistant"]["used"]
    assert "assistant" in [row["name"] for row in metrics["rows"]]
    card = json.loads((run / "card.json").read_text())
    assert card["backbone"] == "nets:network"
    assert (card["width"], card["input"]["size"]) == (None, 19)
    assert card["files"]
    assert all(file["passed"] for file in card["files"])
    described = (run / "README.md").read_text()
    assert "what the network brings" in described
    publish(run, tmp_path / "handed_over")
    assert "those of the network nets:network" in (tmp_path / "handed_over" / "LICENCES.md").read_text()
    (nets / "nets.py").write_text(NETWORK.replace("Conv2D(6", "Conv2D(7"))
    with pytest.raises(ArgumentError, match=r"the stage 'distill' of .* was run before the weights changed"):
        main.run_stages(settings, ["evaluate"], False)
    (nets / "larger.py").write_text(LARGER.replace("Conv2D(12", "Conv2D(13"))
    with pytest.raises(ArgumentError, match=r"the stage 'assist' of .* was run before the assistant changed"):
        main.run_stages(settings, ["evaluate"], False)
