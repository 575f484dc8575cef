"""What of an engine's log is shown, and that all of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.engine.log.engine_output import (
    FILE,
    START,
    EngineOutput,
    folded,
    is_telling,
    kept_lines,
    since_last_start,
)

ERROR = "(EngineCore pid=30576) ERROR 11-28 15:10:06 [core.py:866] EngineCore failed to start."
NOISE = (
    "(APIServer pid=30493) WARNING 11-28 15:10:43 [utils.py:648] [shutdown] Process manager: force killing",
    "(APIServer pid=30493) INFO 11-28 15:10:43 [launcher.py:254] [shutdown] API server: shutdown triggered",
    "INFO:     Application shutdown complete.",
    "Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00,  5.29it/s]",
    "/lib/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked objects",
    "ERRORS are counted here",
    "",
)


@pytest.mark.parametrize("line", NOISE)
def test_what_is_no_error_is_no_news(line: str) -> None:
    assert not is_telling(line)


@pytest.mark.parametrize("line", [ERROR, "ERROR:    [Errno 98] address already in use", "CRITICAL x"])
def test_an_error_is(line: str) -> None:
    assert is_telling(line)


def test_all_is_kept_and_errors_are_shown_until_it_is_told_to_end(tmp_path: Path) -> None:
    output = EngineOutput(tmp_path)
    assert [output.take(line) for line in (NOISE[0], ERROR)] == [False, True]
    output.hush()
    assert not output.take(ERROR)
    assert list(kept_lines(tmp_path / FILE))[1:] == [NOISE[0], ERROR, ERROR]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_whoever_wants_all_of_it_gets_it(tmp_path: Path) -> None:
    output = EngineOutput(tmp_path, everything=True)
    output.hush()
    assert output.take(NOISE[0])


def test_where_nothing_can_be_written_the_engine_goes_on(tmp_path: Path) -> None:
    assert EngineOutput(tmp_path / "none").take(ERROR)
    assert list(kept_lines(tmp_path / "none" / FILE)) == []


def test_lines_are_folded_and_counted() -> None:
    start = f"{START}2026-01-01 00:00:00 ===="
    assert folded([start, NOISE[0], NOISE[1], ERROR, NOISE[2]]) == [
        start,
        "… 2 lines folded",
        ERROR,
        "… 1 line folded",
    ]


def test_the_last_start_is_told_from_those_before() -> None:
    assert since_last_start([f"{START}1", "a", f"{START}2", "b"]) == [f"{START}2", "b"]
    assert since_last_start(["a"]) == ["a"]
