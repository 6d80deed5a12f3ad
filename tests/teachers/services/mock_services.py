"""Mock services: each checks the whole request by the schema that the service publishes, and answers in its form.

A photo's vector is its mean colour, so that every answer can be computed here.
"""

import base64
import contextlib
import http.server
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image

from kdistill.teachers import open_teacher

KEY = "s3cretKey-0123456789"
BEARER = {"Authorization": f"Bearer {KEY}"}
NEEDS_MODEL = {"openai", "jina", "voyage", "cohere", "vllm", "gemini"}


def base64_file(text: Any) -> bool:
    return isinstance(text, str) and bool(base64.b64decode(text, validate=True))


def data_uri(text: Any) -> bool:
    found = re.fullmatch(r"data:image/(jpeg|png|webp|gif);base64,(.+)", str(text))
    assert found is not None
    with PIL.Image.open(io.BytesIO(base64.b64decode(found[2], validate=True))) as image:
        return image.format.lower() == found[1]


def check(schema: Any, value: Any, where: str = "body") -> None:
    """Compares JSON with a schema: a dict has these keys and no others, [s] is a list of s, a function says yes."""
    if isinstance(schema, dict):
        assert isinstance(value, dict), where
        assert set(value) == set(schema), (where, sorted(value))
        for name, part in schema.items():
            check(part, value[name], f"{where}.{name}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        for place, entry in enumerate(value):
            check(schema[0] if len(schema) == 1 else schema[place], entry, f"{where}[{place}]")
    elif callable(schema):
        assert schema(value), (where, str(value)[:80])
    else:
        assert value == schema, (where, str(value)[:80])


def mean_of(text: str) -> list[float]:
    content = base64.b64decode(text.partition("base64,")[2] or text)
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB"), np.float64).mean(axis=(0, 1)).tolist()


def embedding_list(vectors: list) -> dict:
    """OpenAI's form of answer, in another order than asked: `index` tells whose a vector is."""
    rows = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    return {"object": "list", "data": rows[::-1], "model": "m", "usage": {"prompt_tokens": 0, "total_tokens": 0}}


# form -> (path, schema of the request, its photos as text, the answer, headers that must be there)
Mock = tuple[str, Any, Callable[[Any], list[str]], Callable[[list], Any], dict[str, str]]
MOCKS: dict[str, Mock] = {
    "kdistill": ("/embed", {"images": [base64_file]}, lambda b: b["images"], lambda v: {"embeddings": v}, BEARER),
    "openai": (
        "/v1/embeddings",
        {"model": "m", "modality": "image", "input": [data_uri]},
        lambda b: b["input"],
        embedding_list,
        BEARER,
    ),
    "jina": (
        "/v1/embeddings",
        {"model": "m", "input": [{"image": base64_file}]},
        lambda b: [entry["image"] for entry in b["input"]],
        embedding_list,
        BEARER,
    ),
    "voyage": (
        "/v1/multimodalembeddings",
        {"model": "m", "inputs": [{"content": [{"type": "image_base64", "image_base64": data_uri}]}]},
        lambda b: [entry["content"][0]["image_base64"] for entry in b["inputs"]],
        embedding_list,
        BEARER,
    ),
    "cohere": (
        "/v2/embed",
        {"model": "m", "input_type": "image", "embedding_types": ["float"], "images": [data_uri]},
        lambda b: b["images"],
        lambda v: {"id": "1", "embeddings": {"float": v}, "images": [{"width": 1, "height": 1, "format": "png"}]},
        BEARER,
    ),
    "vllm": (
        "/v1/embeddings",
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_uri}}]}],
        },
        lambda b: [b["messages"][0]["content"][0]["image_url"]["url"]],
        embedding_list,
        {},
    ),
    "vertex": (
        "/v1/projects/p/locations/l/publishers/google/models/multimodalembedding@001:predict",
        {"instances": [{"image": {"bytesBase64Encoded": base64_file}}]},
        lambda b: [entry["image"]["bytesBase64Encoded"] for entry in b["instances"]],
        lambda v: {"predictions": [{"imageEmbedding": vector} for vector in v], "deployedModelId": "1"},
        BEARER,
    ),
    "titan": (
        "/model/amazon.titan-embed-image-v1/invoke",
        {"inputImage": base64_file},
        lambda b: [b["inputImage"]],
        lambda v: {"embedding": v[0], "inputTextTokenCount": 0, "message": None},
        BEARER,
    ),
    "nova": (
        "/model/amazon.nova-2-multimodal-embeddings-v1:0/invoke",
        {
            "schemaVersion": "nova-multimodal-embed-v1",
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "GENERIC_INDEX",
                "image": {
                    "format": lambda value: value in ("png", "jpeg", "gif", "webp"),
                    "source": {"bytes": base64_file},
                },
            },
        },
        lambda b: [b["singleEmbeddingParams"]["image"]["source"]["bytes"]],
        lambda v: {"embeddings": [{"embeddingType": "IMAGE", "embedding": v[0]}]},
        BEARER,
    ),
    "gemini": (
        "/v1beta/models/m:batchEmbedContents",
        {
            "requests": [
                {
                    "model": "models/m",
                    "content": {
                        "parts": [
                            {
                                "inline_data": {
                                    "mime_type": lambda value: value in ("image/png", "image/jpeg"),
                                    "data": base64_file,
                                }
                            }
                        ]
                    },
                }
            ]
        },
        lambda b: [entry["content"]["parts"][0]["inline_data"]["data"] for entry in b["requests"]],
        lambda v: {"embeddings": [{"values": vector} for vector in v]},
        {"x-goog-api-key": KEY},
    ),
    "tfserving": (
        "/v1/models/m:predict",
        {"instances": [{"b64": base64_file}]},
        lambda b: [entry["b64"] for entry in b["instances"]],
        lambda v: {"predictions": v},
        {},
    ),
    "torchserve": ("/predictions/m", None, lambda b: b, lambda v: v[0], {}),
}


class MockService:
    """One service on loopback; `script` holds what to do instead of answering, one function a request.

    Attributes:
        asked: the vectors of the photos of each request that was answered.
        faults: requests that were not as the schema says.
    """

    def __init__(self, form: str) -> None:
        self.form = form
        self.path, self.schema, self.photos, self.answer, self.headers = MOCKS[form]
        self.script: list[Callable[[Any, list], Any]] = []
        self.asked: list[list] = []
        self.bodies: list[bytes] = []
        self.faults: list[str] = []
        self.lock = threading.Lock()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    vectors = service.vectors(self, body)
                except Exception as error:
                    service.faults.append(f"{type(error).__name__}: {error}")
                    send(self, 400, {"error": "schema"})
                    return
                with service.lock:
                    service.bodies.append(body)
                    step = service.script.pop(0) if service.script else None
                    if step is None:
                        service.asked.append(vectors)
                if step is None:
                    send(self, 200, service.answer(vectors))
                else:
                    step(self, vectors)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}{self.path}"
        threading.Thread(target=self.server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()

    def vectors(self, handler: Any, body: bytes) -> list:
        assert handler.path == self.path, handler.path
        for name, value in self.headers.items():
            assert handler.headers[name] == value, name
        if self.schema is None:
            assert handler.headers["Content-Type"] in ("image/png", "image/jpeg")
            return [mean_of(base64.b64encode(body).decode())]
        assert handler.headers["Content-Type"] == "application/json"
        parsed = json.loads(body)
        check(self.schema, parsed)
        return [mean_of(text) for text in self.photos(parsed)]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def send(handler: Any, status: int, answer: Any, **headers: str) -> None:
    body = json.dumps(answer).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@contextlib.contextmanager
def serving() -> Iterator[Callable[[str], MockService]]:
    """Gives a function that starts the mock of a form; all that were started are closed at the end."""
    services: list[MockService] = []

    def start(form: str) -> MockService:
        services.append(MockService(form))
        return services[-1]

    try:
        yield start
    finally:
        for service in services:
            service.close()


def truth(images) -> np.ndarray:
    return np.stack([image.pixels().mean(axis=(0, 1)) for image in images])


def teacher_of(service: MockService, **options):
    form = service.form
    header = "x-goog-api-key" if form == "gemini" else "Authorization"
    return open_teacher(
        service.url,
        api=form,
        model="m" if form in NEEDS_MODEL else None,
        headers=[f"{header}=TEACHER_KEY"],
        **options,
    )
