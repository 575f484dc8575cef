"""Readers of vLLM's queues: where vLLM looks in a loop they sleep, a millisecond at the most."""

from __future__ import annotations

import ast
import importlib.util
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from launch.engine.vllm_plugin.message_wait import CLASS, LOOK_MS, MODULE, sleep_between_looks


class Socket:
    """Has been told of a message, or not."""

    def __init__(self) -> None:
        self.told = 0

    def recv(self, flags: int, copy: bool) -> None:
        assert flags == 1, "it must not wait"
        self.told -= 1


class SpinCondition:
    """As vLLM's, as far as it is used: `waits` are its own."""

    def __init__(self, read_ago_s: float) -> None:
        self.busy_loop_s = 60.0
        self.last_read = time.monotonic() - read_ago_s
        self.local_notify_socket = Socket()
        self.poller = self
        self.polls: list[float] = []
        self.waits: list[int | None] = []

    def poll(self, timeout: float) -> list[tuple[Socket, int]]:
        self.polls.append(timeout)
        return [(self.local_notify_socket, 1)] if self.local_notify_socket.told else []

    def wait(self, timeout_ms: int | None = None) -> None:
        self.waits.append(timeout_ms)


def vllms(condition: type = SpinCondition) -> Any:
    module: Any = ModuleType("shm_broadcast")
    module.SpinCondition = condition
    module.zmq = SimpleNamespace(NOBLOCK=1)
    return module


def test_after_a_message_it_sleeps_until_it_is_told_or_looks_for_itself() -> None:
    module = vllms()
    assert sleep_between_looks(module)
    reader = module.SpinCondition(read_ago_s=0.0)
    reader.wait(5000)
    assert (reader.polls, reader.waits) == ([LOOK_MS], [])
    reader.local_notify_socket.told = 1
    reader.wait(5000)
    assert reader.local_notify_socket.told == 0  # the next one finds nothing of it


def test_where_nothing_has_come_for_long_it_waits_as_vllm_does() -> None:
    module = vllms()
    sleep_between_looks(module)
    reader = module.SpinCondition(read_ago_s=61.0)
    reader.wait(5000)
    assert (reader.polls, reader.waits) == ([], [5000])


def test_a_second_time_nothing_is_changed() -> None:
    module = vllms()
    sleep_between_looks(module)
    mended = module.SpinCondition
    assert sleep_between_looks(module)
    assert module.SpinCondition is mended


def test_another_vllm_is_left_as_it_is() -> None:
    module = vllms(type("Other", (), {}))
    assert not sleep_between_looks(module)
    assert module.SpinCondition.__name__ == "Other"
    assert not sleep_between_looks(ModuleType("without"))


def test_this_vllm_is_the_one_that_is_known() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = Path(spec.origin).parent.joinpath(*MODULE.split(".")[1:]).with_suffix(".py").read_text()
    assert "\nimport zmq" in source
    classes = {one.name: one for one in ast.parse(source).body if isinstance(one, ast.ClassDef)}
    text = ast.unparse(classes[CLASS])
    assert "def wait(self, timeout_ms: int | None=None)" in text
    for name in ("busy_loop_s", "last_read", "poller"):
        assert f"self.{name} = " in text
    assert "self.local_notify_socket.recv(flags=zmq.NOBLOCK, copy=False)" in text
