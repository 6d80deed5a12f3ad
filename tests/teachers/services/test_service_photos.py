"""How photos go to a service: as they are, encoded anew within its limits, or as pixels."""

import io
import json

import numpy as np
import PIL.Image
import pytest
from mock_services import MOCKS, check, truth

from kdistill.data import Image, ImageSet
from kdistill.data.decoding import UnreadableImage, resize
from kdistill.teachers import Ledger, ask, open_teacher
from kdistill.teachers.services.forms.form import Photos, form_text
from kdistill.teachers.services.photos import Files


def test_pixels_go_nested_by_row_and_colour(serve, images, monkeypatch):
    """TensorFlow Serving's row format: one nested list an instance."""
    means = lambda body: [np.asarray(one).mean((0, 1)).tolist() for one in body["instances"]]  # noqa: E731
    monkeypatch.setitem(
        MOCKS, "tfserving_pixels", ("/v1/models/m:predict", {"instances": [is_square]}, means, lambda v: v, {})
    )
    service = serve("tfserving_pixels")
    service.vectors = lambda handler, body: [
        check({"instances": [is_square]}, json.loads(body)),
        means(json.loads(body)),
    ]
    service.answer = lambda found: {"predictions": found[1]}
    teacher = open_teacher(service.url, api="tfserving_pixels", scaling="symmetric", image_size=6)
    expected = [resize(image.pixels(), 6).mean(axis=(0, 1)) / 127.5 - 1 for image in images]
    np.testing.assert_allclose(teacher.embed(images), expected, atol=1e-6)
    assert teacher.view == "pillow-bilinear-6/symmetric"
    assert service.faults == []


def is_square(value) -> bool:
    return np.shape(value) == (6, 6, 3) and np.abs(value).max() <= 1


def test_a_photo_that_cannot_be_sent_is_skipped_by_its_name(serve, images, tmp_path):
    service = serve("kdistill")
    form = json.loads(form_text("kdistill")) | {"photos": {"formats": ["png"], "most_bytes": 900}}
    (tmp_path / "form.json").write_text(json.dumps(form))
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    pool = ImageSet([*images, Image("too large", array=noise)])
    header = ["Authorization=TEACHER_KEY"]
    teacher = open_teacher(service.url, api=str(tmp_path / "form.json"), headers=header)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(teacher, pool, range(6), ledger, budget=6)
        assert ledger.summary().spent == 5
    assert [name for name, _ in answers.skipped] == ["too large"]
    np.testing.assert_allclose(answers.embeddings, truth(images), rtol=1e-6)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "gif", "tiff", "ppm"])
def test_files_go_as_they_are_where_the_service_takes_them(kind, tmp_path):
    path = tmp_path / "photo"
    PIL.Image.fromarray(np.full((9, 8, 3), 77, np.uint8)).save(path, format=kind)
    image = Image("photo", path=path)
    content, named = Files(Photos()).file(image)
    assert (content, named) == (path.read_bytes(), "x-portable-pixmap" if kind == "ppm" else kind)
    content, named = Files(Photos(("jpeg",))).file(image)
    assert named == "jpeg"
    assert (content == path.read_bytes()) == (kind == "jpeg")
    assert PIL.Image.open(io.BytesIO(content)).size == (8, 9)


def test_photos_are_encoded_anew_within_the_limits(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    image = Image("noise", array=noise)
    content, kind = Files(Photos(("jpeg", "png"), most_bytes=100_000)).file(image)
    assert kind == "jpeg"
    assert len(content) <= 100_000
    content, _ = Files(Photos(("png",), most_side=100, most_pixels=5_000)).file(image)
    width, height = PIL.Image.open(io.BytesIO(content)).size
    assert width <= 100
    assert width * height <= 5_000
    assert abs(width / height - 1.5) < 0.05
    with pytest.raises(UnreadableImage, match="cannot be sent as png of at most 1,000 bytes"):
        Files(Photos(("png",), most_bytes=1000)).file(image)
    boxed = Image("boxed", array=noise, box=(0, 0, 10, 20))
    content, _ = Files(Photos()).file(boxed)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(content))), noise[:20, :10])
    views = {
        Files(photos).view for photos in (Photos(), Photos(("png",)), Photos(("png",), 5), Photos(("png",), None, 5))
    }
    assert len(views) == 4
