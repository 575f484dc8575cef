"""An engine in an actor, followed: what it says, how it ends, and what counts as lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from gateway.errors import EngineFailure
from launch.engine.on_ray import remote_engine
from launch.engine.on_ray.node_engine import ProcessStatus
from launch.engine.on_ray.remote_engine import KILLED, Gone, RemoteEngine, Silent, on_seat
from tests.support.waiting import until

FIRST = ProcessStatus("a", 1, 7, "http://10.0.0.7:8101", lines=("one",), said=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_engine, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(remote_engine, "GONE_AFTER_S", 0.02)


@dataclass
class FakeSeat:
    """Answers as it is told; the newest answer stands."""

    name: str = "engine-0.x"
    sight: ProcessStatus | Exception = FIRST
    occupied: Exception | None = None
    calls: list[str] = field(default_factory=list)

    def occupy(self) -> None:
        self.calls.append("occupy")
        if self.occupied is not None:
            raise self.occupied

    def claim(self) -> ProcessStatus:
        return self._answer()

    def look(self, said: int) -> ProcessStatus:
        return self._answer()

    def stop(self, timeout_s: float) -> None:
        self.calls.append(f"stop {timeout_s}")

    def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        raise Gone("x")

    def folder_of(self, path: str) -> str:
        return path

    def begin_adapter(self, settings: bytes, size_bytes: int) -> None: ...

    def write_adapter(self, data: bytes) -> None: ...

    def end_adapter(self, adapter_id: str) -> str:
        return ""

    def drop_adapter(self, adapter_id: str) -> None: ...

    def vacate(self) -> None:
        self.calls.append("vacate")

    def _answer(self) -> ProcessStatus:
        if isinstance(self.sight, Exception):
            raise self.sight
        return self.sight


def following(seat: FakeSeat) -> tuple[RemoteEngine, list[str]]:
    heard: list[str] = []
    made = on_seat(seat)(heard.append, lambda _: False)
    assert isinstance(made, RemoteEngine)
    return made, heard


def until_true(condition: Callable[[], Any]) -> None:
    until(lambda: bool(condition()), 20)


def test_it_is_nowhere_until_its_actor_has_a_node() -> None:
    seat = FakeSeat(sight=Silent("no node has room"))
    engine, heard = following(seat)
    until_true(lambda: seat.calls)
    assert (engine.pid, engine.url, engine.exit_code()) == (0, "", None)
    seat.sight = FIRST
    until_true(lambda: engine.pid)
    assert (engine.pid, engine.url, engine.exit_code()) == (7, "http://10.0.0.7:8101", None)
    assert heard[0] == "one"
    engine.stop(1, lambda: False)


def test_of_its_lines_those_are_passed_on_that_are_to_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    sight = ProcessStatus("a", 1, 7, "u", lines=("INFO it starts", "ERROR no memory"), said=2)
    heard: list[str] = []
    engine = on_seat(FakeSeat(sight=sight))(heard.append, lambda line: line.startswith("ERROR"))
    until_true(lambda: len(heard) >= 2)
    engine.stop(1, lambda: False)
    assert set(capsys.readouterr().err.splitlines()) == {"[engine-0] ERROR no memory"}


def test_one_that_is_left_is_not_asked_to_stop() -> None:
    seat = FakeSeat()
    engine, _ = following(seat)
    until_true(lambda: engine.pid)
    engine.leave()
    assert seat.calls == ["occupy"]
    assert engine.exit_code() is None


def test_its_end_is_told_with_its_words() -> None:
    seat = FakeSeat()
    engine, _ = following(seat)
    until_true(lambda: engine.pid)
    seat.sight = ProcessStatus("a", 1, 7, "u", exit_code=1, lines=("ValueError: no",), said=2, kills=3)
    until_true(lambda: engine.exit_code() == 1)
    assert engine.kills() == 3
    assert engine.last_lines[-1] == "ValueError: no"
    assert engine.memory() == (None, "")
    engine.stop(1, lambda: False)


@pytest.mark.parametrize(
    "then",
    [
        ProcessStatus("b", 1, 9, "u"),
        ProcessStatus("a", 2, 9, "u"),
        Gone("unavailable"),
        EngineFailure("it has died"),
    ],
    ids=["another actor", "another process", "unreachable", "dead"],
)
def test_another_life_or_none_is_a_loss_that_no_request_is_blamed_for(
    then: ProcessStatus | Exception,
) -> None:
    seat = FakeSeat()
    engine, _ = following(seat)
    until_true(lambda: engine.pid)
    seat.sight = then
    until_true(lambda: engine.exit_code() == KILLED)
    assert "NodeLostError" in engine.last_lines[-1]
    engine.stop(5, lambda: False)
    assert "stop 5" not in seat.calls  # the process of another life goes on
    engine.release()
    assert seat.calls[-1] == "vacate"


def test_a_busy_actor_is_no_loss() -> None:
    seat = FakeSeat()
    engine, _ = following(seat)
    until_true(lambda: engine.pid)
    seat.sight = Silent("busy")
    seat.sight = FIRST
    until_true(lambda: engine.exit_code() is None)
    engine.stop(3, lambda: False)
    assert "stop 3" in seat.calls


def test_whoever_is_in_a_hurry_waits_for_nothing() -> None:
    seat = FakeSeat()
    engine, _ = following(seat)
    until_true(lambda: engine.pid)
    engine.stop(30, lambda: True)
    assert "stop 0.0" in seat.calls


def test_an_actor_that_cannot_be_made_is_a_failed_start() -> None:
    engine, _ = following(FakeSeat(occupied=EngineFailure("no module named launch")))
    until_true(lambda: engine.exit_code() == KILLED)
    assert "no module named launch" in " ".join(engine.last_lines)


def test_an_actor_that_is_made_after_the_release_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray may take long to make one; whoever stops the engine meanwhile does not wait for that."""
    monkeypatch.setattr(remote_engine, "LOST_AFTER_S", 0.001)
    seat, asked, going_on = FakeSeat(), threading.Event(), threading.Event()

    def occupy() -> None:
        asked.set()
        going_on.wait(20)
        seat.calls.append("made")

    monkeypatch.setattr(seat, "occupy", occupy)
    engine, _ = following(seat)
    assert asked.wait(20)
    engine.stop(1, lambda: False)
    engine.release()
    assert seat.calls == ["vacate"]
    going_on.set()
    until_true(lambda: seat.calls == ["vacate", "made", "vacate"])


def test_the_next_engine_on_the_seat_is_not_ended_by_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle, it was stopped while Ray still made its actor; a request has the next one begun meanwhile."""
    monkeypatch.setattr(remote_engine, "LOST_AFTER_S", 0.001)
    seat, asked, going_on = FakeSeat(), threading.Event(), threading.Event()

    def occupy() -> None:
        if not asked.is_set():
            asked.set()
            going_on.wait(20)
        seat.calls.append("made")

    monkeypatch.setattr(seat, "occupy", occupy)
    begin = on_seat(seat)
    first = begin(lambda _: None, lambda _: False)
    assert asked.wait(20)
    first.stop(1, lambda: False)
    first.release()
    second = begin(lambda _: None, lambda _: False)
    going_on.set()
    until_true(lambda: second.pid)
    assert seat.calls == ["vacate", "made", "vacate", "made"]
    assert second.exit_code() is None
    second.stop(1, lambda: False)
    second.release()
