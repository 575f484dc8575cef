"""One program of a running stack killed under load, and what its clients saw until it was back."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gateway.config.process import started_ticks
from gateway.config.snapshot import FILE, EngineStatus, read_snapshot
from gateway.errors import EngineFailure

Victim = Literal["engine", "supervisor", "gateway"]
VICTIMS: tuple[Victim, ...] = ("engine", "supervisor", "gateway")
MODULES = {"supervisor": "launch", "gateway": "gateway"}
POLL_S = 0.01
AFTER_FAILURE_S = 0.02
"""A client that failed tries again after so long."""
REQUEST_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class TimedRequest:
    """One request of the load; times are monotonic seconds. `status` is 0 where no answer came."""

    began: float
    ended: float
    status: int
    retry_after_s: str | None = None
    cold: bool = False


class SteadyLoad:
    """Clients that each ask one short question after another, and never give up."""

    def __init__(self, url: str, key: str, model: str, clients: int) -> None:
        self._host = urlsplit(url).netloc
        self._body = json.dumps(
            {"model": model, "prompt": "One, two,", "max_tokens": 4, "temperature": 0}
        ).encode()
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        self._stop = threading.Event()
        self._requests: list[TimedRequest] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(REQUEST_TIMEOUT_S)

    @property
    def requests(self) -> list[TimedRequest]:
        """Those that have ended, in the order of their ends."""
        return list(self._requests)

    def answered_since(self, moment: float) -> bool:
        """Whether a request that began after `moment` was answered well."""
        return any(one.status == 200 and one.began > moment for one in reversed(self._requests))

    def _run(self) -> None:
        while not self._stop.is_set():
            one = self._ask()
            # No lock: appending is one step of the interpreter's, and readers copy or go backwards.
            self._requests.append(one)
            if one.status != 200:
                self._stop.wait(AFTER_FAILURE_S)

    def _ask(self) -> TimedRequest:
        began = time.monotonic()
        # A new one each time, which sees a gateway go and come; a kept one would only see it go.
        connection = http.client.HTTPConnection(self._host, timeout=REQUEST_TIMEOUT_S)
        try:
            connection.request("POST", "/v1/completions", self._body, self._headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return TimedRequest(began, time.monotonic(), 0)
        finally:
            connection.close()
        headers = answer.headers
        cold = headers.get("x-gateway-cold") == "true"
        return TimedRequest(began, time.monotonic(), answer.status, headers.get("retry-after"), cold)


@dataclass(frozen=True)
class Recovery:
    """What one kill did; seconds run from the kill."""

    victim: Victim
    back_s: float
    """Until the program was there again: a ready engine, a gateway that answers."""
    answered_s: float
    """Until the end of the longest time without a good answer."""
    outage_s: float
    """The longest time between two good answers that ended around the kill."""
    gone_s: float | None
    """Until nothing of the old engine was left; None where the engine is not to be disturbed."""
    failed: dict[str, int]
    """Requests that were not answered well, by status; `none` for no answer."""
    waited: int
    """Requests that waited for the engine and were answered."""
    retry_after: list[str]
    """What the 503 said."""
    undisturbed: bool
    """The other programs are the same processes as before."""

    def document(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Processes:
    """Process ids of one moment; 0 where there is none."""

    engine: int
    supervisor: int
    gateway: int


class Patient:
    """A stack that `lora-gateway up` keeps running. `alive` raises where it has ended."""

    def __init__(self, up_pid: int, state_dir: Path, load: SteadyLoad, alive: Callable[[], None]) -> None:
        self._up_pid = up_pid
        self._state_dir = state_dir
        self._load = load
        self._alive = alive

    def processes(self) -> Processes:
        engine = self.engine()
        found = {name: program_under(self._up_pid, module) for name, module in MODULES.items()}
        return Processes(engine.pid if engine else 0, found["supervisor"], found["gateway"])

    def engine(self) -> EngineStatus | None:
        """The ready engine, if there is one that lives."""
        snapshot = read_snapshot(self._state_dir / FILE)
        engines = snapshot.engines if snapshot else []
        return next((one for one in engines if one.state == "ready" and is_alive(one.pid)), None)

    def kill(self, victim: Victim, limit_s: float) -> Recovery:
        """SIGKILL, then wait until all is well. Raises EngineFailure after `limit_s`."""
        before = self.processes()
        pid = getattr(before, victim)
        if not pid:
            raise EngineFailure(f"there is no {victim} to kill")
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        gone_s: float | None = None
        back_s: float | None = None
        # One that was asked before may have been answered by the process that was killed.
        while back_s is None or not self._load.answered_since(at + back_s):
            self._alive()
            if time.monotonic() - at > limit_s:
                raise EngineFailure(f"the {victim} was not back after {limit_s:.0f} s")
            if victim != "gateway" and gone_s is None and not is_alive(before.engine):
                gone_s = time.monotonic() - at
            if back_s is None and self._is_back(victim, before):
                back_s = time.monotonic() - at
            time.sleep(POLL_S)
        return self._recovery(victim, at, back_s, gone_s, before)

    def _is_back(self, victim: Victim, before: Processes) -> bool:
        now = self.processes()
        if victim == "gateway":
            return now.gateway not in (0, before.gateway) and self._load.answered_since(
                started_at(now.gateway)
            )
        return now.engine not in (0, before.engine)

    def _recovery(
        self, victim: Victim, at: float, back_s: float, gone_s: float | None, before: Processes
    ) -> Recovery:
        requests = self._load.requests
        after = self.processes()
        others = {"engine": ("supervisor", "gateway"), "supervisor": ("gateway",)}.get(
            victim, ("supervisor", "engine")
        )
        start, end = longest_gap(requests, at)
        seen = [one for one in requests if one.ended >= at]
        failed = Counter(str(one.status or "none") for one in seen if one.status != 200)
        return Recovery(
            victim=victim,
            back_s=round(back_s, 2),
            answered_s=round(end - at, 2),
            outage_s=round(end - start, 2),
            gone_s=None if gone_s is None else round(gone_s, 2),
            failed=dict(failed),
            waited=sum(one.cold and one.status == 200 for one in seen),
            retry_after=sorted({one.retry_after_s or "none" for one in seen if one.status == 503}),
            undisturbed=all(getattr(before, name) == getattr(after, name) for name in others),
        )


def longest_gap(requests: Sequence[TimedRequest], at: float) -> tuple[float, float]:
    """When the longest time without a good answer began and ended, of those that end after `at`."""
    good = sorted(one.ended for one in requests if one.status == 200)
    pairs = [(one, other) for one, other in itertools.pairwise(good) if other >= at]
    if not pairs:
        raise EngineFailure("there were no answers before and after the kill")
    return max(pairs, key=lambda pair: pair[1] - pair[0])


def program_under(parent: int, module: str) -> int:
    """The process `python -m <module>` among the children of `parent`; 0 where there is none."""
    try:
        # Those that its main thread has started, as `up` starts both.
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return 0
    for child in children:
        try:
            argv = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[1:3] == [b"-m", module.encode()] and is_alive(int(child)):
            return int(child)
    return 0


def is_alive(pid: int) -> bool:
    """Whether it runs and is no zombie."""
    return started_ticks(pid) is not None


def started_at(pid: int) -> float:
    """When a process began, in monotonic seconds; now where it is gone."""
    ticks = started_ticks(pid)
    if ticks is None:
        return time.monotonic()
    # The kernel counts a start from boot, with the time that it slept, which monotonic leaves out.
    return ticks / os.sysconf("SC_CLK_TCK") - time.clock_gettime(time.CLOCK_BOOTTIME) + time.monotonic()
