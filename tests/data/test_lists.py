"""List files: what spreadsheets and the csv module write, names of any kind, labels that are words."""

import csv
import io
import os

import numpy as np
import PIL.Image
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdistill.data import Image, ImageSet, RetrievalData
from kdistill.data.labels import numbered
from kdistill.data.layouts.csv_rows import csv_rows
from kdistill.data.layouts.lists import list_data, read_list
from kdistill.data.layouts.sources import open_data
from kdistill.errors import KdistillError
from kdistill.evaluation import evaluate_query_gallery

TODAY = 'a.jpg, 5, 1\n\nb c.jpg,6\r\n , 7\nd\'e.jpg ,\t-8 ,x\n#f.jpg, 9\n"g.jpg, 10\nh"i".jpg, 11'


def as_before(text):
    """The reading that lists without quoted fields have always had."""
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()]
    return [(row[0], int(row[1])) for row in rows if row[0]]


def read(tmp_path, content, *, labelled=True):
    (tmp_path / "list.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_list(tmp_path, "list.csv", labelled=labelled)


def test_lists_without_quotes_read_as_ever(tmp_path):
    images = read(tmp_path, TODAY)
    assert list(zip(images.ids, images.labels.tolist(), strict=True)) == as_before(TODAY)
    assert images.labels.dtype == np.int64
    assert images.ids[-3:] == ("#f.jpg", '"g.jpg', 'h"i".jpg')


@pytest.mark.parametrize(
    ("content", "ids", "labels"),
    [
        (b"\xef\xbb\xbfa.jpg,1\n", ["a.jpg"], [1]),
        (b'\xef\xbb\xbf"a.jpg",1\n', ["a.jpg"], [1]),
        (b"a.jpg,1\r\nb.jpg,2\r\n", ["a.jpg", "b.jpg"], [1, 2]),
        (b"a.jpg,1\rb.jpg,2", ["a.jpg", "b.jpg"], [1, 2]),
        (b"\n\n,,,\na.jpg,1\n  \n", ["a.jpg"], [1]),
        (b'"a, b.jpg",1\n', ["a, b.jpg"], [1]),
        (b'  "a, b.jpg" , "1" \n', ["a, b.jpg"], [1]),
        (b'"say ""cheese"".jpg",1', ['say "cheese".jpg'], [1]),
        (b'"two\nlines.jpg",1\nb.jpg,2', ["two\nlines.jpg", "b.jpg"], [1, 2]),
        (b'" blanks .jpg ",1', [" blanks .jpg "], [1]),
        (b'"unclosed.jpg,1\nb.jpg,2', ['"unclosed.jpg', "b.jpg"], [1, 2]),
        ("ä\u2028%?*.jpg,1".encode(), ["ä\u2028%?*.jpg"], [1]),
        (b"-a.jpg,007", ["-a.jpg"], [7]),
        (b"a.jpg,cat\nb.jpg,dog, animal\n", ["a.jpg", "b.jpg"], ["cat", "dog"]),
        (b'a.jpg,"cat, black"\n', ["a.jpg"], ["cat, black"]),
        (b"a.jpg,1\nb.jpg,cat\nc.jpg,01\n", ["a.jpg", "b.jpg", "c.jpg"], ["1", "cat", "1"]),
    ],
)
def test_what_spreadsheets_write(tmp_path, content, ids, labels):
    images = read(tmp_path, content)
    assert list(images.ids) == ids
    assert images.labels.tolist() == labels
    assert [image.path for image in images] == [tmp_path / name for name in ids]


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(str.strip)


@settings(max_examples=200, deadline=None)
@example([["a\r", '"'], ["", "x"], ['""', ","]])
@given(st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=6))
def test_rows_are_those_of_the_csv_module(rows):
    # Without quotes around everything, the module itself forgets those that a lone "\r" needs where lines end in "\n".
    for line_end, quoting in (("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)):
        file = io.StringIO(newline="")
        csv.writer(file, lineterminator=line_end, quoting=quoting).writerows(rows)
        assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == rows
        assert [fields for _, fields in csv_rows(file.getvalue())] == rows


def test_lines_are_counted_as_an_editor_does(tmp_path):
    assert [line for line, _ in csv_rows('a\n"b\nc\r\nd"\n\ne')] == [1, 2, 5, 6]
    with pytest.raises(KdistillError, match="line 4: "):
        read(tmp_path, 'a.jpg,1\n"b\nc.jpg",2\nd.jpg')


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path, encoding):
    with pytest.raises(KdistillError, match=r"list\.csv' is no UTF-8 text \(UTF-16.*save it as UTF-8"):
        read(tmp_path, "a.jpg,1\n".encode(encoding))


def test_names_that_are_no_utf8(tmp_path):
    with pytest.raises(KdistillError, match=r"is no UTF-8, and no file has this name; save the list as UTF-8"):
        read(tmp_path, "ä.jpg,1\n".encode("latin-1"))
    PIL.Image.new("RGB", (2, 2)).save(tmp_path / "plain.png")
    os.rename(os.fsencode(tmp_path / "plain.png"), os.fsencode(tmp_path) + b"/\xe4.png")
    images = read(tmp_path, b"\xe4.png,1\n")
    assert images.ids == ("\\xe4.png",)
    assert images[0].pixels().shape == (2, 2, 3)


def test_windows_letters_are_letters_in_names_that_exist(tmp_path):
    for name in ("a\\b.png", "c:d.png"):
        PIL.Image.new("RGB", (2, 2)).save(tmp_path / name)
        assert read(tmp_path, f"{name},1")[0].pixels().shape == (2, 2, 3)


def test_words_are_numbered_by_their_text_in_all_lists(tmp_path):
    (tmp_path / "pool.txt").write_text("p.jpg\n")
    (tmp_path / "test.txt").write_text("a.jpg, dog\nb.jpg, cat\nc.jpg, 10\nd.jpg, dog\n")
    (tmp_path / "queries.txt").write_text("q.jpg, 010\nr.jpg, cat\n")
    (tmp_path / "val.txt").write_text("v.jpg, 3\nw.jpg, bird\n")
    data = list_data(tmp_path, query_file="queries.txt", val_file="val.txt")
    names = ["10", "3", "bird", "cat", "dog"]
    assert data.gallery.labels.tolist() == [names.index(name) for name in ("dog", "cat", "10", "dog")]
    assert data.queries.labels.tolist() == [names.index(name) for name in ("10", "cat")]
    assert data.validation.labels.tolist() == [names.index(name) for name in ("3", "bird")]
    # Another order in a file changes nothing.
    (tmp_path / "test.txt").write_text("c.jpg, 10\nd.jpg, dog\nb.jpg, cat\na.jpg, dog\n")
    again = list_data(tmp_path, query_file="queries.txt", val_file="val.txt")
    before, after = (dict(zip(d.gallery.ids, d.gallery.labels.tolist(), strict=True)) for d in (data, again))
    assert before == after
    assert again.restricted_to(np.array([0, 2]), np.array([1])).gallery.labels.tolist() == [0, 3]


def test_words_judge_as_numbers_do():
    pixels = np.zeros((2, 2, 3), np.uint8)
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    numbers = np.array([3, 1, 2] * 4)
    words = np.array(["c", "a", "b"] * 4)

    def score(labels):
        sets = [
            ImageSet([Image(f"{i}", array=pixels) for i in part], labels[part]) for part in (range(4), range(4, 12))
        ]
        data = RetrievalData("test", ImageSet([]), sets[1], sets[0])
        return evaluate_query_gallery(rows[:4], rows[4:], data.queries.labels, data.gallery.labels).as_dict()

    assert score(words) == score(numbers)


def test_numbers_stay_and_absent_labels_stay_absent():
    given = [np.array([7, 3]), None, np.array([3])]
    assert numbered(given) == given
    words = [np.array(["b", "a"], object), None, np.array([3])]
    found = numbered(words)
    assert [None if labels is None else labels.tolist() for labels in found] == [[2, 1], None, [0]]
    assert found[0].dtype == np.int64


def test_the_limit_on_pixels_reaches_every_image(tmp_path):
    (tmp_path / "pool.txt").write_text("a.jpg\n")
    (tmp_path / "test.txt").write_text("b.jpg,1\n")
    data = open_data("lists", data_dir=str(tmp_path), max_megapixels=108)
    assert {image.max_megapixels for image in (*data.pool, *data.gallery)} == {108}
    assert data.gallery.subset([0])[0].max_megapixels == 108
