"""Replacements under load: the adapters, the programs in the engines' place, who asks meanwhile."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from launch.base.steps import Steps
from launch.bench.cli import build_bench_app
from launch.bench.replicas import replacement
from launch.bench.replicas.replacement import (
    REPLACED,
    ReplacementPlan,
    fake_engine,
    replaced_under_load,
    report,
)
from launch.bench.replicas.replacement_figures import PHASES
from launch.bench.results.summary import summarise
from launch.engine.http import call, load_adapter


def test_a_program_in_an_engines_place_loads_and_answers(tmp_path: Path) -> None:
    with fake_engine(tmp_path, 0) as url:
        load_adapter(url, "red@1", tmp_path, key="")
        asked = {"model": "red@1", "prompt": "x"}
        answer = call(f"{url}/v1/completions", asked)
        assert isinstance(answer, dict)
        assert answer["model"] == "red@1"


def test_a_program_in_an_engines_place_sends_an_answer_whole(tmp_path: Path) -> None:
    """A body that comes after its head waits for the other side's acknowledgement: 40 ms in each answer."""
    with fake_engine(tmp_path, 0) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: fake\r\n\r\n")
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["data"] == [{"id": "base", "root": "base"}]


class Clients:
    """Ask until they are told to stop."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.told = threading.Event()

    def run(self, count: int, limit_s: float) -> None:
        self.asked.set()
        assert self.told.wait(20)

    def stop(self) -> None:
        self.told.set()


class Control:
    """Takes each adapter once the clients ask."""

    def __init__(self, clients: Clients, *, refuses: bool = False) -> None:
        self.sources: list[str] = []
        self._clients = clients
        self._refuses = refuses

    def ask(self, method: str, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        assert (method, path, fields["task"]) == ("POST", "/adapters", REPLACED)
        assert self._clients.asked.wait(20)
        if self._refuses:
            raise ZeroDivisionError
        self.sources.append(fields["source"])
        return {"id": f"red@{len(self.sources)}"}


def test_each_replacement_is_another_adapter_while_the_clients_ask() -> None:
    clients = Clients()
    control = Control(clients)
    plan = ReplacementPlan(replacements=3, calm_s=0.0)
    fresh = iter([Path("a"), Path("b"), Path("c"), Path("d")])
    done = replaced_under_load(clients, control, fresh, plan, Steps(print))  # type: ignore[arg-type]
    assert control.sources == ["a", "b", "c"]
    assert [one.adapter_id for one in done] == ["red@1", "red@2", "red@3"]
    assert all(one.began_s <= one.ended_s for one in done)
    assert next(fresh) == Path("d")


def test_the_clients_stop_where_a_replacement_fails() -> None:
    clients = Clients()
    control = Control(clients, refuses=True)
    with pytest.raises(ZeroDivisionError):
        replaced_under_load(
            clients,  # type: ignore[arg-type]
            control,  # type: ignore[arg-type]
            iter([Path("a")]),
            ReplacementPlan(calm_s=0.0),
            Steps(print),
        )
    assert clients.told.is_set()


def test_a_row_says_what_went_wrong_and_how_long_it_took() -> None:
    row: dict[str, object] = {"round": 0, "cell": "fake engines", "subject": "gateway", "requests": 900.0}
    row |= {"wrong": 0.0, "refused": 0.0, "broken": 0.0, "replaced_s": 0.25, "slowest_s": 0.5}
    row |= {f"{phase}_{name}_ms": 12.0 for phase in PHASES for name in ("p50", "p99")}
    last = report(summarise([row])).splitlines()[-1]
    assert last == "| fake engines | 900 | 0 | 0 | 0 | 0.25 | 0.50 | 12 | 12 | 12 | 12 | 12 | 12 |"


def test_a_fault_is_exit_code_1_and_other_engines_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(replacement, "measure", lambda *_: {"faults": ["one"]})
    ran = CliRunner().invoke(build_bench_app(), ["replacement", "--output", str(tmp_path)])
    assert ran.exit_code == 1
    assert json.loads(next(tmp_path.glob("*-replacement.json")).read_text())["faults"] == ["one"]
    ran = CliRunner().invoke(build_bench_app(), ["replacement", "--engines", "none"])
    assert "--engines: none: must be" in str(ran.exception)
