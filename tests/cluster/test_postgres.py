"""What a ledger on PostgreSQL does beyond what every ledger does: lost connections, first comers, passwords."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.settings import Settings
from kdistill.stages.record import Record
from kdistill.stages.stage import Registry
from kdistill.teachers import Ledger
from kdistill.teachers.__main__ import main
from kdistill.teachers.ledger.addresses import without_secrets
from kdistill.teachers.ledger.records import Question

QUESTIONS = [Question(f"hash{index}", f"name{index}") for index in range(6)]


def cut_connections(server: sa.URL, ledger: Ledger) -> None:
    """Ends all of a ledger's sessions from the server's side, as a cut network or a restart does."""
    key = sa.text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = :high")
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        pid = connection.execute(key, {"high": int(ledger._askers.id[:8], 16)}).scalar_one()
        connection.execute(sa.select(sa.func.pg_terminate_backend(pid, 5000)))
    engine.dispose()


def test_an_asker_without_connection_is_lost_and_returns_under_another_id(postgres, new_schema):
    location = new_schema()
    with Ledger(location) as ledger, Ledger(location) as other:
        ledger.bind("teacher", "view")
        held = ledger.reserve(QUESTIONS[:2], budget=9, limit=6).granted
        first_id = ledger._askers.id
        assert other.reserve(QUESTIONS[:2], budget=9, limit=6).busy == held
        cut_connections(postgres, ledger)
        assert other.summary().unknown == 2
        assert other.reserve(QUESTIONS[:2], budget=9, limit=6).granted == held
        # The answer of the lost asker comes late, and is kept all the same: it was paid for.
        ledger.store(held[:1], np.ones((1, 3)))
        other.store(held, np.zeros((2, 3)))
        np.testing.assert_array_equal(other.answers(["hash0"])["hash0"], np.ones(3))
        np.testing.assert_array_equal(other.answers(["hash1"])["hash1"], np.zeros(3))
        assert ledger.reserve(QUESTIONS[2:], budget=9, limit=1).granted == (QUESTIONS[2],)
        assert ledger._askers.id != first_id
        assert other.reserve(QUESTIONS[2:3], budget=9, limit=1).busy == (QUESTIONS[2],)
        assert ledger.summary().spent == 5


def test_askers_that_come_first_at_the_same_time_make_one_ledger(new_schema):
    location = new_schema()
    start = threading.Barrier(6)
    faults: list[BaseException] = []

    def come(number: int) -> None:
        try:
            start.wait()
            with Ledger(location) as ledger:
                ledger.bind("teacher", "view", None if number % 2 else 3)
        except BaseException as error:
            faults.append(error)

    crowd = [threading.Thread(target=come, args=(number,)) for number in range(6)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert faults == []
    with Ledger(location, create=False) as ledger:
        assert ledger.summary().dimension == 3
        with pytest.raises(KdistillError, match="of teacher 'teacher', not of 'another'"):
            ledger.bind("another", "view")


def test_a_schema_without_or_with_half_a_ledger_is_refused(postgres, new_schema):
    location = new_schema()
    with pytest.raises(KdistillError, match="there is no ledger at"):
        Ledger(location, create=False)
    engine = sa.create_engine(location)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE source (name text)"))
    engine.dispose()
    with pytest.raises(KdistillError, match="not those of a ledger"):
        Ledger(location)


def test_names_that_a_database_cannot_hold(new_schema):
    with Ledger(new_schema()) as ledger:
        ledger.bind("teacher", "view")
        ledger.reserve([Question("hash", "a\0b\udcff")], budget=1, limit=1)
        assert [row.name for row in ledger.rows()] == ["a\\0b\\udcff"]


SECRET = "s3cret/pass word"
ADDRESS = "postgresql+psycopg://me:s3cret%2Fpass%20word@127.0.0.1:1/there"


@pytest.mark.parametrize(
    "location",
    [
        ADDRESS,
        ADDRESS + "?sslpassword=s3cret/pass%20word",
        ADDRESS.replace(":1/", ":port/"),
        ADDRESS.replace("+psycopg", ""),
        ADDRESS.replace("//", "/"),
        ADDRESS + "?s3cret=1",
        "nosuch://me:s3cret@host/there",
    ],
)
def test_no_message_holds_a_password(location, capsys):
    for command in ("status", "verify"):
        assert main([command, location]) in (1, 2)
        told = "".join(capsys.readouterr())
        assert told.startswith("error: ")
        assert told.count("\n") == 1
        assert "pass" not in told.replace("PASSWORD", "").replace("password", "")
        assert "s3cret@" not in told
        assert "s3cret%2F" not in told
    with pytest.raises(KdistillError) as caught:
        Ledger(Path(location))
    assert SECRET not in str(caught.value)


def test_a_wrong_password_is_told_without_it(postgres):
    wrong = postgres.set(password="wrongsecret").render_as_string(hide_password=False)
    with pytest.raises(KdistillError, match="password authentication failed") as caught:
        Ledger(wrong)
    assert "wrongsecret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_kept_of_an_address_opens_it_with_a_password_from_the_environment(postgres, new_schema, tmp_path):
    location = new_schema()
    with Ledger(location) as ledger:
        ledger.bind("teacher", "view")
    shown = without_secrets(location)
    assert postgres.password not in shown
    Record(tmp_path, Registry([])).write_flags(Settings.of(ledger=location))
    assert f"--ledger={shown}\n" in (tmp_path / "flags.txt").read_text()
    command = [sys.executable, "-m", "kdistill.teachers", "status", "--json", shown]
    environment = {**os.environ, "PGPASSWORD": postgres.password}
    status = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(status.stdout)["teacher"] == "teacher"
