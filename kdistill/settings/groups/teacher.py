"""Settings of the black box."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class TeacherSettings:
    """Which teacher is asked, and how it is spoken to."""

    teacher: str = setting(
        "digits",
        "The black box: digits (embedded), a table (.npz, .npy, .parquet), a model (.keras, SavedModel, .tflite, "
        ".onnx), a Python function (package.module:function), an http(s) address (asked as --teacher_api says), or the "
        "pooled features of a backbone (imagenet, or its .weights.h5 file). {data_dir} stands for --data_dir.",
        common=True,
    )
    teacher_answers: Literal["vectors", "order", "pairs"] = setting(
        "vectors",
        "What the teacher gives: vectors, order (it ranks candidates for a query image), or pairs (it says which of "
        "two images matches a query better).",
        common=True,
    )
    teacher_scaling: str = setting(
        "auto",
        "How a model teacher (or a service that takes pixels) is shown photos: auto (the configuration beside it, else "
        "what the model itself says; nothing is guessed), none (0 to 255), unit (0 to 1), symmetric (-1 to 1), torch, "
        "clip, or the path of a JSON file such as preprocessor_config.json.",
        common=True,
    )
    teacher_output: str | None = setting(
        None,
        "Output of a model teacher that counts, by name (SIGNATURE:NAME where there are several signatures); else "
        "the only one, else the first of embedding, image_embeds, pooler_output, last_hidden_state.",
    )
    teacher_pooling: Literal["auto", "cls", "mean"] = setting(
        "auto",
        "How a model teacher's tokens become one vector: cls (the first), mean, or auto (the first where there is a "
        "class token, else the mean); maps are averaged.",
    )
    teacher_backbone: Literal["small_cnn", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet50_v2"] = (
        setting("mobilenet_v2", "Backbone of a teacher that is imagenet or a .weights.h5 file.")
    )
    teacher_alpha: float = setting(1.0, "Width multiplier of that backbone.", above=0)
    teacher_image_size: int | None = setting(
        None,
        "Side in pixels of the teacher's input where its file leaves it open; of a backbone 224 unless given.",
        low=8,
        high=4096,
    )
    trust_packages: tuple[str, ...] = setting(
        (),
        "Packages besides Keras, such as keras_hub, whose classes a .keras teacher or a backbone of yours may be "
        "made of; they are imported and run, so name only what you trust.",
        decides=False,
    )
    teacher_api: str = setting(
        "auto",
        "http: the form in which the service is asked: a shipped one (docs/services.md: openai, jina, voyage, cohere, "
        "vllm, vertex, titan, nova, gemini, tfserving, kserve, torchserve, ...), the path of a JSON file, or auto "
        "(kserve at an address .../v2/models/NAME, else kdistill).",
    )
    teacher_model: str | None = setting(None, "http: name of the model, where the form sends one.")
    teacher_headers: tuple[str, ...] = setting(
        (),
        "http: headers as Header=VARIABLE, the value standing in that environment variable (a bare Authorization key "
        "is sent as Bearer KEY).",
        decides=False,
    )
    teacher_timeout: float = setting(
        60.0, "http: seconds that one request may take.", above=0, high=86_400, decides=False
    )
    teacher_retries: int = setting(
        5,
        "http: times that a request is sent again after 429, 500, 503, 529 or without a connection.",
        low=0,
        high=1000,
        decides=False,
    )
    requests_per_minute: float | None = setting(
        None, "http: the most requests that are sent in a minute, evenly apart.", above=0, high=1e6, decides=False
    )
