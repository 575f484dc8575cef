"""One engine's run, with a small program in vLLM's place."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.errors import ConfigError, EngineFailure
from launch import ports, proof
from launch.adapters import Adapter
from launch.command import EngineCommand
from launch.engine import EngineRun, Plan
from launch.proof import Canary, Subject, read_canary
from launch.shapes import Base
from launch.signals import StopSignals
from launch.state import EngineState, is_running, sole_launch, write_state

WAITS = "import signal; signal.pause()"
NAMING = Adapter("naming", "naming@bbbbbbbbbbbb", Path("/adapters/b"), 8, 100)


@pytest.fixture
def stop() -> Iterator[StopSignals]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield StopSignals()
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


class Run:
    """An EngineRun on a folder, and what it wrote there."""

    def __init__(self, folder: Path, stop: StopSignals, program: str = WAITS) -> None:
        self.folder = folder
        self.stop = stop
        self.program = program
        self.ready: list[object] = []

    def state(self) -> dict[str, object]:
        read: dict[str, object] = json.loads((self.folder / "engine.json").read_text())
        return read

    def prove_then_stop(
        self, _url: str, base: str, subjects: Sequence[Subject], on_stage: Callable[[str], None]
    ) -> None:
        on_stage(f"proving {base}")
        self.ready.append([subject.id for subject in subjects])
        signal.raise_signal(signal.SIGTERM)

    def start(
        self,
        prover: Callable[[str, str, Sequence[Subject], Callable[[str], None]], None],
        healthy: Callable[[str], bool] = lambda _url: True,
    ) -> None:
        config = Config.model_validate(
            {"base": {"model": "m"}, "tasks": {"naming": {"adapter": "/b"}}, "state_dir": str(self.folder)}
        )
        command = EngineCommand((sys.executable, "-c", self.program), {})
        plan = Plan(Base("/base", "", None, {}), [NAMING], 8101, command)
        EngineRun(config, plan, self.stop, prover=prover, healthy=healthy).run()


def test_run_ends_cleanly_on_a_signal(tmp_path: Path, stop: StopSignals) -> None:
    run = Run(tmp_path, stop)
    run.start(run.prove_then_stop)
    assert run.ready == [["naming@bbbbbbbbbbbb"]]
    assert run.state()["state"] == "stopped"
    assert run.state()["pid"] == 0


def test_ready_is_written_with_ids_and_address(tmp_path: Path, stop: StopSignals) -> None:
    run = Run(tmp_path, stop)
    seen: list[dict[str, object]] = []

    def healthy(_url: str) -> bool:
        seen.append(run.state())
        return True

    run.start(run.prove_then_stop, healthy)
    assert seen[0]["state"] == "starting"
    assert seen[0]["url"] == "http://127.0.0.1:8101"
    assert seen[0]["adapters"] == {"naming": "naming@bbbbbbbbbbbb"}
    assert seen[0]["base"] == "base"


def test_engine_that_dies_is_explained(tmp_path: Path, stop: StopSignals) -> None:
    run = Run(tmp_path, stop, "raise ValueError('no such thing')")
    with pytest.raises(EngineFailure, match="the engine died: ValueError: no such thing"):
        run.start(run.prove_then_stop, lambda _url: False)
    assert run.state()["state"] == "failed"
    assert "no such thing" in str(run.state()["reason"])


def test_adapter_without_effect_stops_the_start(tmp_path: Path, stop: StopSignals) -> None:
    run = Run(tmp_path, stop)

    def prover(_url: str, _base: str, _subjects: Sequence[Subject], _stage: Callable[[str], None]) -> None:
        raise ConfigError("tasks.naming.adapter", "/b", "has no effect")

    with pytest.raises(ConfigError, match="has no effect"):
        run.start(prover)
    assert run.state()["state"] == "failed"


def test_second_launch_on_a_folder_is_refused(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with sole_launch(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(ConfigError, match="another launch runs"), sole_launch(tmp_path):
            pass
    assert not is_running(tmp_path)


def test_state_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("stale")
    write_state(tmp_path, EngineState("http://127.0.0.1:1", 1, 0.0, "starting", "base"))
    assert json.loads((tmp_path / "engine.json").read_text())["state"] == "starting"
    assert [file.name for file in tmp_path.iterdir()] == ["engine.json"]


def test_free_port_passes_over_taken_and_avoided_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _host, port: port != 9001)
    assert ports.free_port("engine.port", "127.0.0.1", 9001, avoid={9002}) == 9003
    monkeypatch.setattr(ports, "is_free", lambda _host, _port: False)
    with pytest.raises(ConfigError, match=r"engine\.port: 9001: no free port"):
        ports.free_port("engine.port", "127.0.0.1", 9001)


def test_canary_is_the_same_only_with_equal_logprobs() -> None:
    one = Canary(("a", "b"), (-0.5, -1.0))
    assert one.same_as(Canary(("a", "b"), (-0.5, -1.0)))
    assert not one.same_as(Canary(("a", "b"), (-0.5, -1.01)))
    assert not one.same_as(Canary(("a", "c"), (-0.5, -1.0)))


def answers_by_model(monkeypatch: pytest.MonkeyPatch, mixed: dict[str, Canary]) -> None:
    monkeypatch.setattr(proof, "canary", lambda _url, model, _system: mixed[model])


def test_mixed_batch_where_the_base_answers_as_an_adapter_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    base, naming = Canary(("a", "b"), (-0.5, -1.0)), Canary(("c",), (-3.0,))
    answers_by_model(monkeypatch, {"base": naming, "naming@1": naming})
    with pytest.raises(EngineFailure, match="in a mixed batch base answers as naming@1 does"):
        proof.prove_mixed("http://x", {"base": base, "naming@1": naming})


def test_mixed_batch_may_round_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    base, naming = Canary(("a", "b"), (-0.5, -1.0)), Canary(("c",), (-3.0,))
    noisy = {"base": Canary(("a", "d"), (-0.52, -1.03)), "naming@1": Canary(("c",), (-2.98,))}
    answers_by_model(monkeypatch, noisy)
    proof.prove_mixed("http://x", {"base": base, "naming@1": naming})


def test_canary_is_read_from_a_completion() -> None:
    answer = {"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-0.5]}}]}
    assert read_canary("base", answer) == Canary(("a",), (-0.5,))
    broken_ones: list[object] = [{}, {"choices": []}, {"choices": [{"logprobs": None}]}, []]
    for broken in broken_ones:
        with pytest.raises(EngineFailure, match="first completion is empty"):
            read_canary("base", broken)


def test_two_launchers_claim_two_ports() -> None:
    first = ports.free_port("engine.port", "127.0.0.1", 28101)
    with (
        ports.claimed_port("engine.port", "127.0.0.1", first) as mine,
        ports.claimed_port("engine.port", "127.0.0.1", first) as other,
    ):
        assert mine == first
        assert other > mine
    with ports.claimed_port("engine.port", "127.0.0.1", first) as again:
        assert again == first
