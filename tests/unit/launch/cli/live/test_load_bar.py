"""How far a start has come."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from gateway.config.snapshot import FILE, EngineStatus, Snapshot
from launch.cli.live.load_bar import ALMOST, LoadBar, far_of
from launch.engine.log.engine_log import STAGES

LINE = "engine: starting (loading weights) 5 s"


def starting(name: str = "engine-0", **fields: object) -> EngineStatus:
    return EngineStatus(name, **{"state": "starting", **fields})  # type: ignore[arg-type]


def bar_on(state_dir: Path, *, terminal: bool = True) -> tuple[LoadBar, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    clock = iter(range(1000))
    return LoadBar(state_dir, console=console, now_s=lambda: 105.0, monotonic_s=lambda: next(clock)), out


def publish(state_dir: Path, version: int, *engines: EngineStatus) -> None:
    (state_dir / FILE).write_bytes(msgspec.json.encode(Snapshot(version, engines=[*engines])))


def test_nothing_is_shown_where_nothing_starts() -> None:
    assert far_of([], 0.0, {}) is None
    assert far_of([EngineStatus("engine-0", state="ready")], 0.0, {}) is None


def test_a_first_start_goes_by_its_stages() -> None:
    proofs = ("proving base", "proving naming@1, concept@2", "proving a mixed batch")
    told = [
        far_of([starting(stage=stage)], 100.0, {}) for stage in ("", *(name for _, name in STAGES), *proofs)
    ]
    found = [one[1] for one in told if one is not None and one[1] is not None]
    assert len(found) == 1 + len(STAGES) + len(proofs)
    assert found[:2] == [0.0, 0.0]
    assert all(before < after < 1 for before, after in itertools.pairwise(found[1:]))


def test_a_later_start_goes_by_the_time_that_the_last_took() -> None:
    engine = starting(stage="loading weights", started_at=90.0)
    assert far_of([engine], 100.0, {"engine-0": 40.0}) == ("engine: loading weights", 0.25)
    assert far_of([msgspec.structs.replace(engine, load_s=20.0)], 100.0, {"engine-0": 40.0}) == (
        "engine: loading weights",
        0.5,
    )
    assert far_of([engine], 1000.0, {"engine-0": 40.0}) == ("engine: loading weights", ALMOST)


def test_of_several_engines_it_is_said_how_many_are_ready() -> None:
    told = far_of(
        [EngineStatus("engine-0", state="ready"), starting("engine-1", stage="warming up")], 0.0, {}
    )
    assert told is not None
    assert told[0] == "1 of 2 engines ready: warming up"


def test_a_terminal_has_the_bar_from_the_start_until_it_is_ready(tmp_path: Path) -> None:
    publish(tmp_path, 7, EngineStatus("engine-0", state="ready", load_s=10.0))
    bar, out = bar_on(tmp_path)
    bar.look()
    bar.close()  # it draws what was told last
    assert "checking base and adapters" in out.getvalue()  # what the file says is of a life before
    publish(tmp_path, 8, starting(stage="loading weights", started_at=100.0))
    bar.look()
    bar.close()
    assert "engine: loading weights" in out.getvalue()
    assert "50%" in out.getvalue()
    said = len(out.getvalue())
    publish(tmp_path, 9, EngineStatus("engine-0", state="ready"))
    bar.look()
    assert len(out.getvalue()) == said


def test_lines_that_say_the_same_are_left_out_beside_it(tmp_path: Path) -> None:
    bar, _ = bar_on(tmp_path)
    assert not bar.shows(LINE)
    assert not bar.shows(LINE.replace("engine: ", "engine: engine-1: "))
    assert bar.shows("engine: ready in 12 s on 127.0.0.1:8100 (base)")


def test_without_a_terminal_the_lines_are_all_there_is(tmp_path: Path) -> None:
    bar, out = bar_on(tmp_path, terminal=False)
    bar.look()
    assert bar.shows(LINE)
    assert out.getvalue() == ""


def test_an_unreadable_file_is_nothing_to_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_text("{")
    bar, out = bar_on(tmp_path)
    bar.look()
    bar.close()
    assert "checking base and adapters" in out.getvalue()
