"""What a file was made from: every difference is found, named with its old and new value, and nothing else is."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdistill.errors import ArgumentError, KdistillError
from kdistill.files import made_from

SETTINGS = {"steps": 600, "scales": [1.0, 0.7], "loss": "gram"}
BASE: dict[str, Any] = {"version": "1", "settings": SETTINGS, "pool": "ab12"}

SAME = {
    "the same": BASE,
    "another order": dict(reversed(BASE.items())),
    "a tuple for a list": {**BASE, "settings": {**SETTINGS, "scales": (1.0, 0.7)}},
    "a float for an int": {**BASE, "settings": {**SETTINGS, "steps": 600.0}},
}
OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "a value": ({**BASE, "pool": "cd34"}, 'pool was "ab12" and is "cd34"'),
    "a value inside": (
        {**BASE, "settings": {**SETTINGS, "steps": 601}},
        "settings.steps was 600 and is 601",
    ),
    "the first of two": (
        {**BASE, "settings": {**SETTINGS, "loss": "pkt"}, "pool": "x"},
        'settings.loss was "gram" and is "pkt"',
    ),
    "a new entry": ({**BASE, "bank": 0}, "bank was absent and is 0"),
    "an entry less": ({"version": "1", "settings": SETTINGS}, 'pool was "ab12" and is absent'),
    "none for an entry": ({**BASE, "pool": None}, 'pool was "ab12" and is null'),
    "true for 1": ({**BASE, "version": True}, 'version was "1" and is true'),
    "a list in another order": (
        {**BASE, "settings": {**SETTINGS, "scales": [0.7, 1.0]}},
        "settings.scales was [1.0, 0.7] and is [0.7, 1.0]",
    ),
}


@pytest.fixture(params=["file", "folder"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "features.npz"
    if request.param == "file":
        path.write_bytes(b"rows")
    else:
        path.mkdir()
    made_from.write(path, BASE)
    return path


@pytest.mark.parametrize("case", SAME)
def test_the_same_identity_matches(made: Path, case: str) -> None:
    assert made_from.matches(made, SAME[case]) is None


@pytest.mark.parametrize("case", OTHER)
def test_the_first_difference_is_named(made: Path, case: str) -> None:
    identity, sentence = OTHER[case]
    assert str(made_from.matches(made, identity)) == sentence


def test_true_and_one_differ_and_nan_is_itself(tmp_path: Path) -> None:
    file = tmp_path / "x.keras"
    file.touch()
    made_from.write(file, {"flag": 1, "price": float("nan")})
    assert made_from.matches(file, {"flag": 1, "price": float("nan")}) is None
    assert str(made_from.matches(file, {"flag": True, "price": float("nan")})) == "flag was 1 and is true"


@pytest.mark.parametrize("content", [None, "", "{", "[]", "null", "7", "[" * 200_000], ids=lambda text: repr(text)[:12])
def test_without_a_readable_identity_nothing_matches(made: Path, content: str | None) -> None:
    if content is None:
        made_from.sidecar(made).unlink()
    else:
        made_from.sidecar(made).write_text(content)
    difference = made_from.matches(made, BASE)
    assert str(difference) == "features.npz does not say what it was made from, so it is made again"


def test_an_identity_without_its_file_matches_nothing(tmp_path: Path) -> None:
    made_from.write(tmp_path / "gone.npz", BASE)
    assert (tmp_path / "gone.npz.made.json").exists()
    assert str(made_from.matches(tmp_path / "gone.npz", BASE)) == "gone.npz does not exist, so it is made"


def test_an_identity_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="JSON"):
        made_from.write(tmp_path / "x", {"rows": {1, 2}})


def test_a_claimed_folder_keeps_what_matches_and_loses_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "checkpoints"
    assert made_from.claim(folder, BASE) is None
    (folder / "large.keras").touch()
    (folder / "deeper").mkdir()
    (folder / "deeper" / "ckpt-1").touch()
    assert made_from.claim(folder, BASE) is None
    assert (folder / "large.keras").exists()
    assert str(made_from.claim(folder, {**BASE, "pool": "cd34"})) == 'pool was "ab12" and is "cd34"'
    assert [file.name for file in folder.iterdir()] == ["made.json"]
    assert json.loads((folder / "made.json").read_text())["pool"] == "cd34"


def test_a_folder_that_does_not_say_is_emptied_and_a_link_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "checkpoints"
    outside.mkdir()
    (outside / "photo.jpg").touch()
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "ckpt-3.index").touch()
    difference = made_from.claim(folder, BASE, ours=("ckpt-*", "link"))
    assert str(difference) == "checkpoints does not say what it was made from, so it is made again"
    assert (outside / "photo.jpg").exists()
    assert not (folder / "ckpt-3.index").exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "ckpt-3.index").touch()
    with pytest.raises(KdistillError, match=r"holds 'thesis.tex', which is not ours to remove"):
        made_from.claim(tmp_path, BASE, ours=("ckpt-*",))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ckpt-3.index", "thesis.tex"]
