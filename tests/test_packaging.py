"""The sdist and the wheel hold what they promise, nothing else, and work from another folder."""

import ast
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta as build; build.build_sdist('..'); build.build_wheel('..')"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist, and the wheel unpacked in `site`."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    # Built from a copy of what git tracks: a build in place would leave folders behind in the checkout.
    source.mkdir()
    for name in _tracked():
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    tools = folder / "tools"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools), "setuptools>=77"]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(tools)}
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, env=environment, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def _promised() -> set[str]:
    """Returns what an installation needs, as the repository calls it."""
    # The settings of what the page is developed with stay behind; its build needs the two lists of packages.
    developing = {f"export/web/{name}" for name in (".npmrc", ".prettierrc.json", "eslint.config.js")}
    return {
        name
        for name in _tracked()
        if name.startswith(("kdistill/", "export/", "configs/")) or name == "main.py"
        if name not in developing
    }


def test_the_wheel_holds_every_module_config_and_page_and_nothing_else(built):
    site = built / "site"
    files = {str(file.relative_to(site)) for file in site.rglob("*") if file.is_file()}
    of_the_package = {name for name in files if ".dist-info/" not in name}
    assert of_the_package == {name.replace("configs/", "kdistill/configs/", 1) for name in _promised()}
    (metadata,) = site.glob("*.dist-info")
    assert {file.name for file in metadata.iterdir()} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses",
        "top_level.txt",
    }


def test_the_sdist_holds_the_same_and_what_builds_it(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    described = {"CHANGELOG.md", "LICENSE", "README.md", "MANIFEST.in", "pyproject.toml", "setup.cfg", "PKG-INFO"}
    assert {name for name in files if ".egg-info/" not in name} == _promised() | described


def test_it_runs_from_another_folder(built, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(built / 'site')!r}); sys.argv = ['kdistill', "
        "'--flagfile=configs/quickstart.flags', '--stages=ask', '--dry_run', '--teacher=math:sqrt']\n"
        "import main, kdistill\n"
        "assert kdistill.__file__.startswith(sys.path[0]), kdistill.__file__\n"
        "main.cli()"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "100 to ask" in result.stdout


def test_an_installed_package_knows_the_requirements_of_its_checkout(built, tmp_path):
    code = (
        "from kdistill.console.doctor import requirements\nfrom packaging.requirements import Requirement\n"
        "print({extra: {str(Requirement(text.partition(';')[0])) for text in texts}"
        " for extra, texts in requirements().items()})"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place)!r})\n{code}"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for place in (built / "site", REPOSITORY)
    ]
    installed, checkout = (ast.literal_eval(text) for text in said)
    assert installed == checkout
