"""`lora-gateway logs`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.cli.live import logs
from launch.cli.live.logs import coming
from launch.engine.log.engine_output import FILE, EngineOutput
from tests.unit.launch.conftest import run_cli

INFO = "(APIServer pid=1) INFO 11-28 15:10:43 [a.py:1] fine"
ERROR = "(APIServer pid=1) ERROR 11-28 15:10:43 [a.py:1] broken"


def test_errors_are_shown_and_the_rest_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EngineOutput(tmp_path).take("earlier")
    output = EngineOutput(tmp_path)
    for line in (INFO, ERROR):
        output.take(line)
    said = run_cli(capsys, "logs", "--state-dir", str(tmp_path))
    assert said.out.splitlines()[1:] == ["… 1 line folded", ERROR]
    assert (
        run_cli(capsys, "logs", "--all", "-n", "2", "--state-dir", str(tmp_path)).out == f"{INFO}\n{ERROR}\n"
    )
    assert "earlier" in run_cli(capsys, "logs", "--all", "--before", "--state-dir", str(tmp_path)).out


def test_where_no_engine_ever_ran_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_cli(capsys, "logs", "--state-dir", str(tmp_path))
    assert said.code == 2
    assert FILE in said.err


def test_what_is_written_later_comes_also_after_the_file_was_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text("before\n")
    lines = coming(file, 0.0)
    with file.open("a") as old:
        old.write("one\ntw")
        old.flush()
        first = next(lines)
        old.write("o\n")
        old.flush()
        second = next(lines)
    file.rename(tmp_path / "aside")
    file.write_text("three\n")
    assert (first, second, next(lines)) == ("one", "two", "three")
    lines.close()


def test_the_last_line_before_the_file_was_put_aside_comes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / FILE
    file.write_text("before\n")
    lines = coming(file, 0.0)
    looked = logs._is_another

    def written_meanwhile(file: Path, descriptor: int) -> bool:
        """Between a look at the file and the next."""
        monkeypatch.setattr(logs, "_is_another", looked)
        found = looked(file, descriptor)
        with file.open("a") as old:
            old.write("last\n")
        file.rename(tmp_path / "aside")
        file.write_text("first\n")
        return found

    monkeypatch.setattr(logs, "_is_another", written_meanwhile)
    assert [next(lines), next(lines)] == ["last", "first"]
    lines.close()


def test_a_program_reads_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = EngineOutput(tmp_path)
    for line in (INFO, ERROR):
        output.take(line)
    asked = ("logs", "--json", "--state-dir", str(tmp_path))
    errors = run_cli(capsys, *asked).out.splitlines()
    assert [json.loads(line) for line in errors] == [{"line": ERROR, "error": True}]
    every = run_cli(capsys, *asked, "--all", "-n", "2").out.splitlines()
    assert [json.loads(line)["error"] for line in every] == [False, True]
