"""A benchmark's result: whose machine, when and how long stand beside what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError, EngineFailure
from launch.bench.results.record import recorded, visits


def test_what_was_measured_is_kept_with_its_machine_and_time(tmp_path: Path) -> None:
    seen: list[Path] = []

    def measure(scratch: Path) -> dict[str, object]:
        seen.append(scratch)
        assert list(scratch.iterdir()) == []
        (scratch / "stack.log").write_text("much")
        return {"summary": {"one": 1}}

    document = recorded(tmp_path / "new", "slots", measure, quick=True)
    (file,) = (tmp_path / "new").iterdir()
    assert file.name == f"{document['date']}-slots-quick.json"
    assert json.loads(file.read_text()) == document
    assert (document["what"], document["summary"]) == ("slots", {"one": 1})
    assert {"machine", "took_s"} < document.keys()
    assert not seen[0].exists()


def test_a_measurement_that_fails_leaves_no_result(tmp_path: Path) -> None:
    def measure(_: Path) -> dict[str, object]:
        raise EngineFailure("it died")

    with pytest.raises(EngineFailure):
        recorded(tmp_path / "new", "slots", measure)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="--output"):
        recorded(tmp_path / "taken", "slots", lambda _: {})


def test_a_program_reads_the_result_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(_: Path) -> dict[str, object]:
        print("| a table |")
        with visits(1) as steps:
            steps.done("round 1: [20 tokens/s]")
        return {"summary": {"one": 1}}

    document = recorded(tmp_path, "slots", measure, as_json=True)
    said = capsys.readouterr()
    assert json.loads(said.out) == document
    assert said.out.count("\n") == 1
    assert "| a table |\nround 1: [20 tokens/s]\n" in said.err


def test_a_person_reads_what_was_measured_and_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = recorded(tmp_path, "slots", lambda _: {})
    said = capsys.readouterr()
    assert said.out.replace("\n", "") == (tmp_path / f"{document['date']}-slots.json").as_posix()
    assert said.err == ""
