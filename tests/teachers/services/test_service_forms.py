"""Every shipped form against a mock that checks the whole request; what a form may be, and what is shown of it."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_services import KEY, MOCKS, send, teacher_of, truth

from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import Settings
from kdistill.stages.asking.first_request import print_first_request
from kdistill.stages.opening.inputs import Inputs
from kdistill.teachers import BadAnswer, Ledger, NotAsked, ask, open_teacher, plan
from kdistill.teachers.services.forms.fields import CHECKS
from kdistill.teachers.services.forms.form import read_form, shipped
from kdistill.teachers.services.forms.paths import found_at
from kdistill.teachers.services.forms.template import filled
from kdistill.teachers.services.photos import format_of
from kdistill.teachers.services.shortened import shortened

PAGE = Path(__file__).parents[3] / "docs" / "services.md"


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


# The page


def documented_form() -> dict:
    page = PAGE.read_text(encoding="utf-8")
    block = page[page.index("the form is\n") :].partition("```json\n")[2].partition("```")[0]
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
