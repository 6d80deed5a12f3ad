"""The wheel holds what it promises and works from another folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # Built from a copy of what git tracks: a build in place would leave folders behind in the checkout.
    source.mkdir()
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_module_and_config_is_inside(unpacked):
    assert not (unpacked / "benchmarks").exists()  # claims about the project, not a part of it
    for package in ("kdistill", "export"):
        for file in (REPOSITORY / package).rglob("*.py"):
            if "node_modules" not in file.parts:
                assert (unpacked / file.relative_to(REPOSITORY)).is_file(), file
    for file in (REPOSITORY / "configs").glob("*.flags"):
        assert (unpacked / "kdistill" / "configs" / file.name).is_file(), file
    for file in (REPOSITORY / "kdistill").rglob("forms/*.json"):
        assert (unpacked / file.relative_to(REPOSITORY)).is_file(), file
    assert (unpacked / "kdistill" / "report" / "report.html").is_file()


def test_it_runs_from_another_folder(unpacked, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); sys.argv = ['kdistill', "
        "'--flagfile=configs/quickstart.flags', '--stages=ask', '--dry_run', '--teacher=math:sqrt']\n"
        "import main, kdistill\n"
        "assert kdistill.__file__.startswith(sys.path[0]), kdistill.__file__\n"
        "main.cli()"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "100 to ask" in result.stdout
