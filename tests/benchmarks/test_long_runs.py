"""Benchmarks that take hours: a process is replaced after its share of runs, and the time limit holds over all."""

from benchmarks.long_runs import Pace, restart_command


def test_a_process_that_is_replaced_has_the_time_left():
    command = ["python", "-m", "benchmarks.methods", "--max_minutes=30"]
    assert restart_command(command, 30.0, 600.0) == [*command, "--max_minutes=20.000"]
    assert restart_command(command, None, 600.0) == command


def test_a_process_is_replaced_after_its_share_of_runs(monkeypatch):
    replaced = []
    monkeypatch.setattr("os.execv", lambda program, command: replaced.append(command))
    pace = Pace(30.0, runs_a_process=2)
    assert pace.goes_on()
    assert pace.goes_on()
    assert replaced == []
    pace.goes_on()
    assert replaced[0][-1].startswith("--max_minutes=")
    assert not Pace(0.0).goes_on()
