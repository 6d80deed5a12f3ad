import pytest
from small_run import command, run, write_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_photos(root)
    return root


@pytest.fixture(scope="session")
def undisturbed(photos, tmp_path_factory):
    """The work folder of a run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "work"
    finished = run(command(photos, workdir))
    assert finished.returncode == 0, finished.stderr
    return workdir
