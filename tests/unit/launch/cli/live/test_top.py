"""`lora-gateway top`: the table, and what stands there where there are no figures."""

from __future__ import annotations

import io

import httpx
import pytest
from rich.console import Console

from gateway.config.snapshot import EngineStatus, Snapshot, TaskStatus, VersionStatus
from launch.cli.live.figures import Figures, TaskFigures
from launch.cli.live.overview import Overview
from launch.cli.live.top import MetricsSource, table_of

METRICS = '# TYPE lora_gateway_requests_total counter\nlora_gateway_requests_total{task="naming"} 5\n'
SEEN = Overview(
    Snapshot(
        1,
        engines=[
            EngineStatus("engine-0", state="ready", pid=7, memory_bytes=2 * 1024**3, loaded=["naming@1"])
        ],
        tasks={"naming": TaskStatus({}, [VersionStatus("naming@1")])},
    ),
    True,
    "http://127.0.0.1:8080",
)


def source(status: int = 200, text: str = METRICS) -> MetricsSource:
    answer = httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    return MetricsSource("http://gateway.test", answer)


def drawn(figures: Figures, why: str = "", width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table_of(SEEN, figures, why, width))
    return out.getvalue()


def test_engines_and_tasks_with_their_figures() -> None:
    text = drawn(Figures({"naming": TaskFigures(12.34, 0.5, 99.6, 0.0421, 3, 1, 12345)}))
    for part in (
        "engine-0",
        "ready",
        "2.0 GiB",
        "naming",
        "12.3",
        "100",
        "42 ms",
        "12,345",
        "naming@1 100 %",
    ):
        assert part in text


def test_a_task_that_nobody_asked_for_yet_stands_there_too() -> None:
    assert "naming" in drawn(Figures())


@pytest.mark.parametrize("width", [40, 80])
def test_on_a_narrow_terminal_no_line_is_longer(width: int) -> None:
    text = drawn(Figures(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_figures_come_from_two_looks() -> None:
    asked = source()
    before = asked.read()
    figures, why = asked.since(before)
    assert figures.tasks["naming"].requests == 5
    assert why == ""


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, METRICS, "key"),
        (403, METRICS, "key"),
        (500, METRICS, "500"),
        (200, "<html>\n", "no gateway's figures"),
    ],
)
def test_why_there_are_none_is_said(status: int, text: str, said: str) -> None:
    figures, why = source(status, text).since(None)
    assert not figures.tasks
    assert said in why
    assert why in " ".join(drawn(figures, why).split())


def test_a_gateway_that_is_not_there_is_no_end() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert (
        "does not answer" in MetricsSource("http://gateway.test", httpx.MockTransport(refuse)).since(None)[1]
    )
