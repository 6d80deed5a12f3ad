"""Maps between two versions of a teacher: what they keep, against spaces of which the answer is known."""

import json

import numpy as np
import pytest

from kdistill.errors import ArgumentError
from kdistill.space.__main__ import main
from kdistill.space.maps import MAPS
from kdistill.space.upgrade import pairs, what_maps_keep
from kdistill.teachers.providers.table import TableTeacher


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def spaces():
    random = np.random.default_rng(0)
    centres = random.normal(size=(12, 6))
    old = unit(centres[np.arange(120) % 12] + 0.3 * random.normal(size=(120, 6)))
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    return old, unit(old @ rotation)


@pytest.fixture
def tables(spaces, tmp_path):
    names = np.array([f"{number}.jpg" for number in range(120)])
    for name, vectors, rows in (("old", spaces[0], range(120)), ("new", spaces[1], range(119, 9, -1))):
        np.savez(tmp_path / f"{name}.npz", ids=names[list(rows)], embeddings=vectors[list(rows)])
    return tmp_path


@pytest.mark.parametrize("name", list(MAPS))
def test_a_turned_space_is_found_again(spaces, name):
    old, new = spaces
    mapped = MAPS[name](old[:60], new[:60])(old[60:])
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    assert np.sum(mapped * new[60:], axis=1).min() > 0.99


def test_a_network_learns_what_no_linear_map_can():
    random = np.random.default_rng(1)
    old = unit(random.normal(size=(400, 4)))
    new = unit(np.abs(old))
    cosines = {
        name: float(np.mean(np.sum(MAPS[name](old[:300], new[:300])(old[300:]) * new[300:], axis=1))) for name in MAPS
    }
    assert cosines["residual_mlp"] > cosines["ridge"] + 0.01


def test_what_is_kept_is_everything_of_a_turned_space_and_chance_of_an_unrelated_one(spaces):
    old, new = spaces
    kept = {(one.asked, one.name): one for one in what_maps_keep(old, new, [10, 60], judges=30)}
    assert kept[60, "procrustes"].overlap > 0.99
    assert kept[60, "procrustes"].overlap_mixed > 0.99
    unrelated = unit(np.random.default_rng(2).normal(size=new.shape))
    kept = {(one.asked, one.name): one for one in what_maps_keep(old, unrelated, [10, 60], judges=30)}
    assert kept[60, "ridge"].overlap < 0.35
    # What was asked again stands where it belongs, so more of it finds more.
    assert kept[60, "ridge"].overlap_mixed > kept[10, "ridge"].overlap_mixed


def test_the_command_pairs_by_id_and_writes_its_figures(spaces, tables, capsys):
    arguments = ["map", str(tables / "old.npz"), str(tables / "new.npz"), "--asked=20,40", "--judges=25"]
    assert main([*arguments, f"--json={tables / 'kept.json'}"]) == 0
    assert "110 images in both spaces" in capsys.readouterr().out
    report = json.loads((tables / "kept.json").read_text())
    assert [one["asked"] for one in report["kept"]] == [20] * 3 + [40] * 3
    old, new = pairs(TableTeacher(tables / "old.npz"), TableTeacher(tables / "new.npz"))
    np.testing.assert_allclose(old, spaces[0][10:], atol=1e-6)
    np.testing.assert_allclose(new, spaces[1][10:], atol=1e-6)


def test_too_few_images_are_refused(spaces, tables, capsys):
    assert main(["map", str(tables / "old.npz"), str(tables / "new.npz"), "--asked=100", "--judges=25"]) == 2
    assert "together they are no more than there are" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="20 or more"):
        what_maps_keep(*spaces, [20], judges=5)


def test_vectors_for_a_server_are_cut_as_the_run_cuts_them(spaces, tables, capsys):
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 2)))[0].astype(np.float32)
    np.savez(tables / "space.npz", axes=axes, spanned=np.array(2))
    assert main(["project", str(tables / "space.npz"), str(tables / "old.npz"), str(tables / "cut.npz")]) == 0
    with np.load(tables / "cut.npz") as cut:
        assert cut["ids"][0] == "0.jpg"
        np.testing.assert_allclose(cut["embeddings"], unit(spaces[0] @ axes), atol=1e-5)
    assert main(["project", str(tables / "space.npz"), str(tables / "old.npz"), str(tables / "cut.csv")]) == 2
    assert "does not end in .npz" in capsys.readouterr().err
