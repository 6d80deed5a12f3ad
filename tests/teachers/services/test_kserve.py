"""A model behind the Open Inference Protocol against a mock that tells its metadata and checks each tensor."""

import base64
import http.server
import io
import json
import threading

import numpy as np
import PIL.Image
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import BadAnswer, Ledger, NotAsked, ask, open_teacher
from kdistill.teachers.providers.recipe import clip_recipe

TYPES = {"FP32": "float32", "FP64": "float64", "UINT8": "uint8"}
VECTOR = np.random.default_rng(5).normal(size=(3, 4))


class Kserve:
    """Serves mean colours times VECTOR as `embedding`, beside tokens and logits."""

    def __init__(self) -> None:
        self.inputs = [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]
        self.outputs = {"embedding": [-1, 4]}
        self.versions: list[str] = []
        self.max_batch: int | None = None
        self.spoil = lambda answer: answer
        self.sizes: list[int] = []
        self.faults: list[str] = []
        self.seen: np.ndarray | None = None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/v2/models/m":
                    outputs = [{"name": n, "datatype": "FP32", "shape": s} for n, s in server.outputs.items()]
                    told = {"name": "m", "platform": "x", "inputs": server.inputs, "outputs": outputs}
                    self.reply(200, told | ({"versions": server.versions} if server.versions else {}))
                elif self.path == "/v2/models/m/config" and server.max_batch is not None:
                    self.reply(200, {"name": "m", "max_batch_size": server.max_batch})
                else:
                    self.reply(404, {"error": "unknown"})

            def do_POST(self) -> None:
                try:
                    assert self.path == "/v2/models/m/infer"
                    answer = server.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                except Exception as error:
                    server.faults.append(f"{type(error).__name__}: {error}")
                    self.reply(400, {"error": str(error)})
                    return
                self.reply(200, server.spoil(answer))

            def reply(self, status: int, content: dict) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v2/models/m"
        threading.Thread(target=self.http.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()

    def answer(self, body: dict) -> dict:
        assert set(body) == {"inputs", "outputs"}
        (tensor,) = body["inputs"]
        (wanted,) = body["outputs"]
        assert set(wanted) == {"name"}
        told = self.inputs[0]
        assert (tensor["name"], tensor["datatype"]) == (told["name"], told["datatype"])
        if told["datatype"] == "BYTES":
            assert tensor["parameters"] == {"content_type": "base64"}
            assert tensor["shape"] == [len(tensor["data"]), *told["shape"][1:]]
            pixels = [
                np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(text, validate=True)))) for text in tensor["data"]
            ]
            means = np.stack([one.astype(float).mean((0, 1)) for one in pixels])
        else:
            assert set(tensor) == {"name", "shape", "datatype", "data"}
            assert all(type(number) in (int, float) for number in tensor["data"]), "flat"
            batched = len(told["shape"]) == 4
            fixed = tensor["shape"][1:] if batched else tensor["shape"]
            assert all(wanted in (-1, length) for wanted, length in zip(told["shape"][batched:], fixed, strict=True))
            self.seen = np.array(tensor["data"], TYPES[tensor["datatype"]]).reshape(tensor["shape"])
            each = self.seen if batched else self.seen[None]
            means = each.astype(float).mean((2, 3) if each.shape[1] == 3 else (1, 2))
        self.sizes.append(len(means))
        assert self.max_batch is None or len(means) <= self.max_batch, "batch-size must be smaller"
        vectors = means @ VECTOR
        name = wanted["name"]
        values = {
            "embedding": vectors,
            "logits": np.zeros((len(means), 2)),
            "last_hidden_state": np.stack([vectors, vectors + 1], 1),
        }[name]
        if len(told["shape"]) == 3:
            values = values[0]
        output = {"name": name, "shape": list(values.shape), "datatype": "FP32", "data": values.reshape(-1).tolist()}
        return {"model_name": "m", "model_version": "1", "outputs": [output]}


@pytest.fixture
def server():
    server = Kserve()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return ImageSet([Image(f"image{index}", array=array) for index, array in enumerate(pixels)])


def truth(images, scale: float = 255.0) -> np.ndarray:
    return np.stack([image.pixels().astype(float).mean(axis=(0, 1)) / scale for image in images]) @ VECTOR


@pytest.mark.parametrize("tail", ["", "/", "/infer"])
def test_the_address_suffices(tail, server, images, tmp_path):
    teacher = open_teacher(server.url + tail, scaling="unit")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(teacher, images, range(5), ledger, budget=5, batch_size=3)
    np.testing.assert_allclose(answers.embeddings, truth(images), rtol=1e-4)
    assert (server.sizes, server.faults) == ([3, 2], [])
    assert teacher.view == "pillow-bilinear-8/unit"


def test_what_is_sent_is_what_a_file_of_the_model_would_be_shown(server, images):
    open_teacher(server.url, scaling="clip").embed(images)
    expected = np.stack([clip_recipe(8).apply(image.pixels()) for image in images]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(server.seen, expected)


def test_layout_type_and_open_sizes_are_read(server, images):
    server.inputs = [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    np.testing.assert_allclose(open_teacher(server.url).embed(images), truth(images, 1.0), rtol=1e-5)
    server.inputs = [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, -1, -1, -1]}]
    with pytest.raises(KdistillError, match="--teacher_image_size"):
        open_teacher(server.url, scaling="unit")
    teacher = open_teacher(server.url, scaling="unit", image_size=8)
    np.testing.assert_allclose(teacher.embed(images), truth(images), rtol=1e-5)
    assert server.faults == []


def test_a_model_without_a_batch_is_asked_about_one_photo_at_a_time(server, images, tmp_path):
    server.inputs = [{"name": "x", "datatype": "FP32", "shape": [3, 8, 8]}]
    server.outputs = {"embedding": [4]}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(open_teacher(server.url, scaling="unit"), images, range(5), ledger, budget=5)
    np.testing.assert_allclose(answers.embeddings, truth(images), rtol=1e-4)
    assert server.sizes == [1] * 5


def test_the_batch_that_the_server_takes_is_kept(server, images, tmp_path):
    server.max_batch = 2
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ask(open_teacher(server.url, scaling="unit"), images, range(5), ledger, budget=5)
    assert (server.sizes, server.faults) == ([2, 2, 1], [])


def test_encoded_photos_go_as_base64(server, images):
    for shape in ([-1], [-1, 1]):
        server.inputs = [{"name": "photo", "datatype": "BYTES", "shape": shape}]
        teacher = open_teacher(server.url)
        np.testing.assert_allclose(teacher.embed(images), truth(images, 1.0), rtol=1e-5)
        assert teacher.view == "encoded"
    assert server.faults == []


def test_outputs_and_pooling_are_chosen_as_of_a_file(server, images):
    server.outputs = {"logits": [-1, 2], "last_hidden_state": [-1, 2, 4]}
    teacher = open_teacher(server.url, scaling="unit")
    assert teacher.view == "pillow-bilinear-8/unit/last_hidden_state/cls"
    np.testing.assert_allclose(teacher.embed(images), truth(images), rtol=1e-4)
    mean = open_teacher(server.url, scaling="unit", pooling="mean")
    np.testing.assert_allclose(mean.embed(images), truth(images) + 0.5, rtol=1e-4)
    with pytest.raises(ArgumentError, match="has no output 'pooled'"):
        open_teacher(server.url, scaling="unit", output="pooled")
    with pytest.raises(ArgumentError, match="nothing to pool"):
        open_teacher(server.url, scaling="unit", output="logits", pooling="mean")


def test_versions_are_part_of_the_name_unless_one_is_named(server):
    server.versions = ["1"]
    one = open_teacher(server.url, scaling="unit").name
    server.versions = ["1", "2"]
    two = open_teacher(server.url, scaling="unit").name
    assert one != two
    assert two.endswith("version 1,2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": []}, "tells no inputs"),
        ({"inputs": [{"name": "x"}]}, "does not tell inputs"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 10]}]}, r"\[batch, S, S, 3\]"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [4, 3, 8, 8]}]}, "exactly 4 images"),
        ({"outputs": {"a": [-1, 2], "b": [-1, 2]}}, "--teacher_output"),
        (
            {
                "inputs": [
                    {"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, 8, 8]},
                    {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]},
                ]
            },
            "input_ids besides the image",
        ),
    ],
)
def test_models_that_cannot_be_used_are_told_of_before_anything_is_asked(change, said, server):
    vars(server).update(change)
    with pytest.raises(KdistillError, match=said):
        open_teacher(server.url, scaling="unit")
    assert server.sizes == []


def test_a_scale_is_not_guessed(server):
    with pytest.raises(ArgumentError, match="--teacher_scaling"):
        open_teacher(server.url)


def test_an_unknown_model_costs_nothing(server):
    with pytest.raises(NotAsked, match="404"):
        open_teacher(server.url + "2", scaling="unit")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: {"outputs": []},
        lambda answer: {"outputs": [answer["outputs"][0] | {"shape": [1, 20]}]},  # one row for several images
        lambda answer: {"outputs": [answer["outputs"][0] | {"data": answer["outputs"][0]["data"][1:]}]},
        lambda answer: {"outputs": [answer["outputs"][0] | {"name": "another"}]},
        lambda answer: {"error": "out of memory"},
    ],
)
def test_answers_that_are_none_are_bad(spoil, server, images, tmp_path):
    server.spoil = spoil
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(BadAnswer):
            ask(open_teacher(server.url, scaling="unit"), images, range(5), ledger, budget=5)
        assert (ledger.summary().bad, ledger.summary().spent) == (5, 5)
