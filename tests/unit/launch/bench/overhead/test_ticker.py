"""Small requests one after another, in a program of its own, until it is told to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from launch.bench.overhead.ticker import ticking
from launch.bench.programs.running import ProxyUnderTest
from tests.fakes.http_server import Handler, serving


@contextmanager
def server() -> Iterator[tuple[str, list[str | None]]]:
    keys: list[str | None] = []

    class Answers(Handler):
        def do_POST(self) -> None:
            self.body()
            keys.append(self.headers["authorization"])
            self.answer(b"{}")

    with serving(Answers) as url:
        yield url, keys


def test_figures_are_there_when_the_block_ends() -> None:
    with server() as (url, keys):
        with ticking(ProxyUnderTest("x", url, headers={"authorization": "Bearer k"})) as figures:
            assert figures == {}
        assert figures["requests"] == len(keys) >= 0
        assert set(keys) <= {"Bearer k"}
        if keys:
            assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["longest_us"]
