"""Every shipped form against a mock that checks the whole request; what a form and its answers may be."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_services import KEY, MOCKS, MockService, check, send, serving

from kdistill.data import Image, ImageSet
from kdistill.data.decoding import UnreadableImage, resize
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import Settings
from kdistill.stages.asking.first_request import print_first_request
from kdistill.stages.inputs import Inputs
from kdistill.teachers import BadAnswer, Ledger, NoAnswer, NotAsked, ask, open_teacher, plan
from kdistill.teachers.services.forms.answers import read_choice, read_rows
from kdistill.teachers.services.forms.fields import CHECKS
from kdistill.teachers.services.forms.form import Photos, form_text, read_form, shipped
from kdistill.teachers.services.forms.paths import found_at
from kdistill.teachers.services.forms.template import filled
from kdistill.teachers.services.photos import Files, format_of
from kdistill.teachers.services.shortened import shortened

PAGE = Path(__file__).parents[2] / "docs" / "services.md"
NEEDS_MODEL = {"openai", "jina", "voyage", "cohere", "vllm", "gemini"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TEACHER_KEY", KEY)


@pytest.fixture
def serve():
    with serving() as start:
        yield start


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    return ImageSet([Image(f"image{index}", array=array) for index, array in enumerate(pixels)])


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


@pytest.mark.parametrize("form", sorted(MOCKS))
def test_the_request_is_as_published_and_each_vector_is_its_images(form, serve, images, tmp_path):
    service = serve(form)
    teacher = teacher_of(service)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(teacher, images, range(5), ledger, budget=5, batch_size=2)
    assert service.faults == []
    np.testing.assert_allclose(answers.embeddings, truth(images), rtol=1e-6)
    assert len(service.asked) == (5 if teacher.largest_batch == 1 else 3)
    assert answers.spent == 5


def test_every_shipped_form_is_tested():
    tested_elsewhere = {"kserve", "kserve_base64", "tfserving_pixels", "jina_rerank", "openai_choice"}
    assert set(shipped()) == set(MOCKS) | tested_elsewhere


@pytest.mark.parametrize("form", sorted(set(shipped()) - {"kserve", "kserve_base64"}))
def test_a_shipped_form_says_where_it_is_described_and_has_no_setting_that_another_reads(form):
    read = read_form(form)
    assert read.about
    assert read_form(form, "http://host/v2/models/m").digest == read.digest


def test_the_names_of_answers_differ_with_the_model_and_the_form_not_with_limits(tmp_path):
    url = "http://host/v1/embeddings"
    names = {open_teacher(url, api="vllm", model=model).name for model in ("a", "b")}
    names.add(open_teacher(url, api="openai", model="a").name)
    names.add(open_teacher(url).name)
    assert len(names) == 4
    fields = json.loads((tmp_path / "x").write_text("") or json.dumps(FORM))
    for name, change in (("one.json", {}), ("two.json", {"least_wait": 9, "about": "x"})):
        (tmp_path / name).write_text(json.dumps(fields | change))
    one, two = (open_teacher(url, api=str(tmp_path / name)).name for name in ("one.json", "two.json"))
    assert one == two


FORM = {"request": {"images": [{"$each": "{base64}"}]}, "answer": {"vectors": "data[].vector"}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"request": {"images": ["{base64}"]}}, "what repeats for each image"),
        ({"request": {"images": {"$each": "{base64}"}}}, "entries of lists"),
        ({"request": {"images": [{"$each": "{picture}"}]}}, r"has the name \{picture\}; known"),
        ({"request": {"images": [{"$each": "{base64}", "more": 1}]}}, "entries of lists"),
        ({"request": "{base64}"}, '"request" is'),
        ({"request": {"images": [{"$each": "photo"}]}}, "no image stands"),
        ({"request": {"images": [{"$each": "{bytes}"}]}}, "no JSON"),
        ({"answer": {}}, 'needs "vectors"'),
        ({"answer": {"vectors": "a[].b[]"}}, r"more than one \[\]"),
        ({"answer": {"vectors": "a[x"}}, "no path"),
        ({"answer": {"vectors": "a", "index": "b[]"}}, r'needs "answer.vectors" with \[\]'),
        ({"answer": {"vectors": "a[]", "index": "b"}}, r"needs \[\]"),
        ({"answer": {"vectors": "a[]", "vector": "b"}}, '"answer" has "vector"'),
        ({"answer": {"vectors": 7}}, "is no text"),
        ({"answer": {"vectors": "a[]", "raw": "float16"}}, "must be"),
        ({"images": 0}, "whole number from 1"),
        ({"images": True}, "whole number from 1"),
        ({"asks": "labels"}, "one of vectors"),
        ({"asks": "preference", "answer": {"text": "a", "first": "(", "second": "b"}}, "regular expression"),
        ({"url": "http://host"}, 'the field "url"'),
        ({"photos": {"formats": ["heic"]}}, "a list of jpeg"),
        ({"photos": {"most": 3}}, '"photos.most"'),
        ({"key": {"header": "a b"}}, "name of a header"),
        ({"key": {"scheme": "a b"}}, "one word"),
        ({"least_wait": -1}, "seconds"),
        ({"path": "infer"}, "begins with"),
    ],
)
def test_a_form_that_cannot_be_right_is_refused_in_a_sentence(change, said, tmp_path):
    path = tmp_path / "form.json"
    path.write_text(json.dumps(FORM | change))
    with pytest.raises(ArgumentError, match=said) as caught:
        read_form(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [("[1", "no JSON"), ("[]", "no JSON object"), ("{}", 'has no "request"')])
def test_a_file_that_is_no_form(text, said, tmp_path):
    (tmp_path / "form.json").write_text(text)
    with pytest.raises(KdistillError, match=said):
        read_form(str(tmp_path / "form.json"))


def test_unknown_forms_and_missing_parts_are_told_before_anything_is_sent(serve):
    service = serve("jina")
    for options, said in [
        ({"api": "jena"}, "there is no form 'jena'"),
        ({"api": "nowhere.json"}, "nowhere.json cannot be read"),
        ({"api": "jina", "headers": ["Authorization=TEACHER_KEY"]}, "give --teacher_model"),
        ({"api": "jina", "model": "m"}, "give --teacher_headers=Authorization=VARIABLE"),
        ({"api": "kdistill", "model": "m"}, "no place for --teacher_model"),
        ({"api": "tfserving_pixels"}, "--teacher_image_size"),
        ({"api": "tfserving_pixels", "image_size": 8}, "--teacher_scaling"),
        ({"api": "vllm", "model": "m", "pooling": "max"}, "unknown teacher pooling"),
    ]:
        with pytest.raises(KdistillError, match=said):
            open_teacher(service.url, **options)
    assert service.bodies == service.faults == []


# Answers

OPENAI = {"vectors": "data[].embedding", "index": "data[].index"}


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 6), data=st.data())
def test_rows_come_in_the_order_asked_whatever_the_order_of_the_answer(count, data):
    order = data.draw(st.permutations(range(count)))
    kept = order[: data.draw(st.integers(1, count))]
    vectors = np.arange(count * 3.0).reshape(count, 3)
    parsed = {"data": [{"index": row, "embedding": vectors[row].tolist()} for row in kept]}
    if len(kept) == count:
        np.testing.assert_array_equal(read_rows(parsed, OPENAI, count), vectors)
        return
    with pytest.raises(NoAnswer) as caught:
        read_rows(parsed, OPENAI, count)
    np.testing.assert_array_equal(caught.value.rows, kept)
    np.testing.assert_array_equal(caught.value.embeddings, vectors[kept])


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_flat_numbers_are_laid_out_by_the_shape(lengths):
    data = np.arange(np.prod(lengths), dtype=np.float64)
    parts = {"vectors": "outputs[name=o].data", "shape": "outputs[name=o].shape"}
    nested = {"outputs": [{"name": "other"}, {"name": "o", "shape": lengths, "data": data.tolist()}]}
    np.testing.assert_array_equal(read_rows(nested, parts, lengths[0]), data.reshape(lengths))
    with pytest.raises(BadAnswer, match="answered"):
        read_rows(nested, parts, lengths[0] + 1)


@pytest.mark.parametrize(
    "parsed",
    [
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},  # one twice
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [2.0]}]},  # out of range
        {"data": [{"index": "0", "embedding": [1.0]}, {"index": 1, "embedding": [2.0]}]},
        {"data": [{"index": True, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},
        {"data": [{"embedding": [1.0]}]},  # a count without index
        {"data": [{"embedding": [1.0]}] * 3},
        {"data": [{"index": 0, "embedding": [1.0]}, {"embedding": [2.0]}]},
        {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]},
        {"data": [{"embedding": ["1"]}, {"embedding": ["2"]}]},
        {"data": {"embedding": [1.0, 2.0]}},
        {"data": None},
        {},
        [],
        None,
        "data",
    ],
)
def test_answers_of_which_nobody_can_tell_whose_they_are_are_bad(parsed):
    with pytest.raises(BadAnswer):
        read_rows(parsed, OPENAI, 2)


@pytest.mark.parametrize(
    ("shape", "data", "count"),
    [
        ([1, 3], [1.0] * 3, 2),  # one row for several images
        ([2, 3], [1.0] * 5, 2),
        ([2, -1], [1.0] * 2, 2),
        ("2,3", [1.0] * 6, 2),
        ([], [1.0], 1),
        ([2, 3], ["x"] * 6, 2),
        ([2, 10**9, 10**9], [1.0] * 2, 2),
    ],
)
def test_shapes_that_do_not_fit_are_bad(shape, data, count):
    with pytest.raises(BadAnswer):
        read_rows({"shape": shape, "data": data}, {"vectors": "data", "shape": "shape"}, count)


def test_a_missing_or_null_vector_spoils_no_other():
    parsed = {"data": [{"index": 1, "embedding": [1.0, 2.0]}, {"index": 0, "error": "x"}]}
    rows = read_rows(parsed, OPENAI, 2)
    assert np.isnan(rows[0]).all()
    assert rows[1].tolist() == [1.0, 2.0]


def test_an_answer_of_several_outputs_gives_the_one_that_counts(serve, images):
    service = serve("tfserving")
    service.answer = lambda vectors: {"predictions": [{"logits": [0.0, 0.0], "embedding": v} for v in vectors]}
    np.testing.assert_allclose(teacher_of(service).embed(images), truth(images), rtol=1e-6)
    chosen = teacher_of(service, output="logits")
    assert chosen.embed(images).tolist() == [[0.0, 0.0]] * 5
    assert chosen.view.endswith("/logits")
    with pytest.raises(BadAnswer, match="has no output 'pooled'"):
        teacher_of(service, output="pooled").embed(images)


def test_tokens_are_pooled_as_those_of_a_file(serve, images):
    service = serve("tfserving")
    service.answer = lambda vectors: {"predictions": [[v, [1.0, 2.0, 3.0]] for v in vectors]}
    with pytest.raises(BadAnswer, match="several vectors for an image; say which counts with --teacher_pooling"):
        teacher_of(service).embed(images)
    np.testing.assert_allclose(teacher_of(service, pooling="cls").embed(images), truth(images), rtol=1e-6)
    mean = (truth(images) + np.array([1.0, 2.0, 3.0])) / 2
    np.testing.assert_allclose(teacher_of(service, pooling="mean").embed(images), mean, rtol=1e-6)


def test_an_error_within_an_answer_counts_and_is_told(serve, images):
    service = serve("titan")
    service.script = [lambda handler, vectors: send(handler, 200, {"embedding": None, "message": "too dark"})]
    with pytest.raises(NoAnswer, match="too dark"):
        teacher_of(service).embed(images[:1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", 1.0),
        (" a photo", None),
        ("B.", 0.0),
        ("**A**", 1.0),
        ("= neither", 0.5),
        ("I think A", None),
        (None, None),
    ],
)
def test_the_rules_read_a_choice_or_say_that_they_cannot(text, expected):
    found = read_choice(text, read_form("openai_choice").answer)
    assert np.isnan(found) if expected is None else found == expected


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


def test_a_dry_run_shows_the_first_request_and_sends_nothing(serve, images, capsys, tmp_path):
    service = serve("jina")
    teacher = teacher_of(service)
    planned = plan(teacher, images, range(5), None, budget=3)
    print_first_request(teacher, images, planned, 2)
    told = capsys.readouterr().out
    assert told.startswith(f"\nthe first request, shortened:\nPOST {service.url}\n")
    assert told.count('"image"') == 2
    assert KEY not in told
    print_first_request(object(), images, planned, 2)
    assert capsys.readouterr().out == ""
    assert service.bodies == []


def test_another_form_file_is_another_input_of_the_run(tmp_path):
    path = tmp_path / "form.json"
    digests = []
    for wait in (1, 2):
        path.write_text(json.dumps(FORM | {"least_wait": wait}))
        told = Settings.of(teacher="http://host/x", teacher_api=str(path))
        digests.append(Inputs(told, tmp_path, keep=False).digest("teacher"))
    assert len(set(digests)) == 2
    assert Inputs(Settings.of(teacher="http://host/x"), tmp_path, keep=False).digest("teacher") == ""


# Templates, paths, what is shown


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4))
def test_marks_repeat_for_each_image_in_order(values):
    images = [{"numbers": value, "base64": str(value)} for value in values]
    template = {"a": [0, {"$each": {"b": "{base64}!"}}, 1], "c": [{"$flat": "{numbers}"}], "n": "{count}"}
    found = filled(template, {"count": len(values)}, images)
    assert found["a"] == [0, *({"b": f"{value}!"} for value in values), 1]
    assert found["c"] == [number for value in values for number in value]
    assert found["n"] == len(values)


def test_paths():
    answer = {"a": {"b": [{"c": 1, "n": "x"}, {"c": 2, "n": "y"}]}, "e": [[1, 2]]}
    assert found_at(answer, "a.b[].c") == [1, 2]
    assert found_at(answer, "a.b[n=y].c") == 2
    assert found_at(answer, "e[0][]") == [1, 2]
    assert found_at(answer, "a.b[].d") == [None, None]
    assert found_at(answer, "") == answer
    for path in ("a.d", "a.b[7]", "a.b[n=z]", "a[]", "e.a"):
        with pytest.raises(BadAnswer, match=r"no list|nothing at"):
            found_at(answer, path)


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


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=300),
        lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=30,
    )
)
def test_what_is_shown_is_short_and_keeps_its_form(body):
    short = shortened(body)
    assert type(short) is type(body)
    assert shortened(body) == short

    def lists(part):
        if isinstance(part, dict):
            return all(map(lists, part.values()))
        return not isinstance(part, list) or (len(part) <= 4 and all(map(lists, part)))

    assert lists(short)


@pytest.mark.parametrize("form", sorted(MOCKS))
def test_the_request_is_shown_without_the_key_and_nothing_is_sent(form, serve, images):
    service = serve(form)
    shown = teacher_of(service).shown_request(images)
    assert KEY not in shown
    assert shown.startswith(f"POST {service.url}\n")
    assert len(shown) < 1500
    assert service.bodies == service.faults == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_costs_nothing_and_shows_no_key(status, serve, images, tmp_path):
    service = serve("jina")
    said = {"detail": f"the key {KEY} is not known"}
    service.script = [lambda handler, vectors: send(handler, status, said)]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(NotAsked, match=str(status)) as caught:
            ask(teacher_of(service), images, range(5), ledger, budget=5)
        assert ledger.summary().spent == 0
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
def test_vectors_that_are_not_finite_are_bad_answers_of_their_image(number, serve, images, tmp_path):
    service = serve("openai")
    service.script = [
        lambda handler, vectors: send(
            handler, 200, {"data": [{"index": 1, "embedding": [number]}, {"index": 0, "embedding": [1.0]}]}
        )
    ]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(teacher_of(service), images, [0, 1], ledger, budget=2)
        assert answers.indices.tolist() == [0]
        assert (ledger.summary().bad, ledger.summary().spent) == (1, 2)


# The page


def documented_form() -> dict:
    page = PAGE.read_text(encoding="utf-8")
    block = page[page.index("the form is\n") :].partition("\n\n")[2].partition("\n\n| field")[0]
    return json.loads(block)


def test_the_documented_form_does_what_the_page_says(serve, images, monkeypatch, tmp_path):
    schema = {"model": "m", "photos": [{"jpeg": lambda text: format_of(base64.b64decode(text)) == "jpeg"}], "size": 512}
    rows = lambda vectors: {"result": [{"place": n, "vector": v} for n, v in enumerate(vectors)][::-1]}  # noqa: E731
    found = ("/x", schema, lambda b: [entry["jpeg"] for entry in b["photos"]], rows, {"x-key": KEY})
    monkeypatch.setitem(MOCKS, "documented", found)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(documented_form()))
    service = serve("documented")
    teacher = open_teacher(service.url, api=str(path), model="m", headers=["x-key=TEACHER_KEY"])
    answers = teacher.embed(images)
    assert service.faults == []
    assert teacher.largest_batch == 16
    assert teacher.view == "encoded-jpeg-5000000bytes"
    np.testing.assert_allclose(answers, truth(images), atol=3)  # of a JPEG file


def test_the_page_lists_every_shipped_form_and_every_field_and_name():
    page = PAGE.read_text(encoding="utf-8")
    for form in shipped():
        assert f"`{form}`" in page, form
    for field in CHECKS:
        assert f"`{field}`" in page, field
    for form in shipped():
        for name in read_form(form).names:
            assert f"{{{name}}}" in page or f"{{{name.rpartition('.')[2]}}}" in page, name
