"""What trainings cost, from records that are made up."""

import json

import pytest

from rmtlib.runs import RunError, book_data
from studies import compute

MACHINE = {"processor": "some processor", "system": "some system"}


def write(folder, name, network, epochs, seconds, *, status="completed", threads=1, **more):
    record = {"name": name, "status": status, "config": {"network": network, "epochs": epochs}, "seconds": seconds}
    record |= {"threads": threads, "versions": {"torch": "2.0"}} | more
    (folder / name).mkdir()
    (folder / name / "run.json").write_text(json.dumps(record))


@pytest.fixture
def runs(tmp_path):
    write(tmp_path, "a", "small", 10, 60)
    write(tmp_path, "b", "small", 10, 180, **MACHINE)
    write(tmp_path, "c", "small", 10, 600, **MACHINE)
    write(tmp_path, "d", "large", 10, 3600, threads=2, **MACHINE)
    write(tmp_path, "e", "small", 5, 30)
    write(tmp_path, "f", "small", 5, 1e6, status="diverged")
    return compute.records(tmp_path)


def test_runs_are_counted_by_network_and_length_and_added_up(runs):
    table = compute.by_network(runs)
    small = table[(table["network"] == "small") & (table["epochs"] == 10)].iloc[0]
    assert small[["runs", "shortest", "median", "longest"]].tolist() == [3, 1, 3, 10]
    assert small["hours"] == pytest.approx(14 / 60)
    last = table.iloc[-1]
    assert (last["network"], last["runs"]) == ("all", 5)
    assert last["hours"] == pytest.approx((60 + 180 + 600 + 3600 + 30) / 3600)


def test_a_machine_that_was_not_recorded_is_not_guessed(runs):
    table = compute.by_machine(runs).set_index(["processor", "threads"])
    assert table["runs"].to_dict() == {("not recorded", 1): 2, ("some processor", 1): 2, ("some processor", 2): 1}
    assert table["hours"].to_dict()["some processor", 1] == pytest.approx(780 / 3600)


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    write(tmp_path, "f", "small", 5, 1e6, status="diverged")
    with pytest.raises(RunError, match="no finished run in"):
        compute.records(tmp_path)


def test_every_run_of_the_book_is_in_the_sum():
    table = compute.by_network(compute.records())
    assert table["runs"].iloc[-1] == len(list((book_data() / "runs").iterdir()))
