"""What a proxy adds: every proxy in every round, in an order that changes, each on the same core."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import EngineFailure
from launch.bench.overhead import instructions, payload
from launch.bench.overhead.peers import Peer
from launch.bench.overhead.subjects import (
    Checkout,
    start_gateway,
    start_mock,
    start_nginx,
    start_peer,
    start_upstream,
)
from launch.bench.overhead.wrk import run_wrk
from launch.bench.programs import proc
from launch.bench.programs.running import Programs, ProxyUnderTest, post
from launch.bench.results.record import visits
from launch.machine.memory import MIB

Say = Callable[[str], None]
RowList = list[dict[str, object]]
LIMITED = "gateway with limits"
FAR_LIMITS = {
    "requests_per_minute": 10**9,
    "tokens_per_minute": 10**12,
    "max_in_flight": 10**6,
    "tokens_per_day": 10**15,
    "tokens_per_month": 10**15,
}
SETTLE_S = 0.2
SETTLE_LIMIT_S = 10.0
IDLE_SHARE = 0.06
"""Of one core, all proxies together: a little more than the tick that the kernel counts in."""


@dataclass(frozen=True)
class WholeCell:
    """Whole answers at a number of connections."""

    connections: int

    @property
    def name(self) -> str:
        return f"whole-{self.connections}"


@dataclass(frozen=True)
class StreamCell:
    """Streams at a number of connections; an interval of 0 is as fast as it goes."""

    connections: int
    interval_ms: float
    tokens: int = 64
    first_ms: float = 50.0

    @property
    def name(self) -> str:
        return f"stream-{self.connections}" if self.interval_ms else f"flood-{self.connections}"

    @property
    def spread_s(self) -> float:
        """The clients begin over the length of one stream, so that they do not move in step."""
        return (self.first_ms + self.tokens * self.interval_ms) / 1000 if self.interval_ms else 0.0


@dataclass(frozen=True)
class OverheadPlan:
    """How much is measured: rounds, seconds of each measurement, and the cells."""

    rounds: int = 5
    whole_s: float = 3.0
    stream_s: float = 3.0
    flood_s: float = 2.0
    warm_up_s: float = 2.0
    seed: int = 1
    limits: bool = False
    """This gateway once more, with limits for its key that are never reached."""
    whole: tuple[WholeCell, ...] = (WholeCell(1), WholeCell(64), WholeCell(512))
    streams: tuple[StreamCell, ...] = (StreamCell(32, 20.0), StreamCell(128, 20.0), StreamCell(128, 0.0))

    @classmethod
    def quick(cls) -> OverheadPlan:
        """A smoke run: does everything once."""
        return cls(rounds=1, whole_s=1.0, stream_s=1.5, flood_s=1.0, warm_up_s=1.0)


def order(names: Sequence[str], number: int, seed: int) -> list[str]:
    """The order of one round: shuffled anew in each, the same for the same seed."""
    shuffled = list(names)
    random.Random(f"{seed}-{number}").shuffle(shuffled)
    return shuffled


def measure_whole(
    programs: Programs, folder: Path, peers: Sequence[Peer], checkout: Checkout, plan: OverheadPlan, say: Say
) -> tuple[RowList, dict[str, str]]:
    """Whole answers from a canned nginx; the rows, and the peers that did not start."""
    upstream = start_upstream(programs, folder / "upstream")
    subjects, left_out = _start_all(programs, folder, peers, checkout, upstream, say)
    if plan.limits:
        subjects[LIMITED], _, _ = start_gateway(
            programs, folder / "limited", upstream, checkout, key_limits=FAR_LIMITS
        )
        subjects[LIMITED].name = LIMITED
    for subject in subjects.values():
        run_wrk(subject, folder, 64, plan.warm_up_s)
    counted = instructions.supported()
    rows: RowList = []
    with visits(plan.rounds * len(plan.whole) * len(subjects)) as steps:
        for number, cell in itertools.product(range(plan.rounds), plan.whole):
            for name in order(list(subjects), number, plan.seed):
                which = f"round {number + 1} of {plan.rounds}: {cell.name} {name}"
                steps.now(which)
                settle(subjects.values())
                row = _whole_row(subjects, name, folder, cell, plan.whole_s, counted)
                rows.append({"round": number, "cell": cell.name, "subject": name, **row})
                steps.done(f"{which}: {row['requests_per_s']:,.0f} requests/s")
    return rows, left_out


def settle(subjects: Iterable[ProxyUnderTest]) -> None:
    """Wait until no proxy works off requests whose client has gone; after 10 s they are left to it."""
    pids = [pid for subject in subjects for pid in subject.pids]
    end = time.monotonic() + SETTLE_LIMIT_S
    while time.monotonic() < end:
        before = proc.cpu_s(pids)
        time.sleep(SETTLE_S)
        if proc.cpu_s(pids) - before <= SETTLE_S * IDLE_SHARE:
            return


def _whole_row(
    subjects: dict[str, ProxyUnderTest],
    name: str,
    folder: Path,
    cell: WholeCell,
    seconds: float,
    counted: bool,
) -> dict[str, object]:
    subject = subjects[name]
    pids = subject.pids
    others = [pid for other in subjects.values() if other.name != name for pid in other.pids]
    proc.forget_peak(pids)
    before, others_before = proc.cpu_s(pids), proc.cpu_s(others)
    figures = run_wrk(subject, folder, cell.connections, seconds)
    row: dict[str, object] = dict(figures.row())
    if pids:
        if figures.requests:
            row["cpu_us"] = (proc.cpu_s(pids) - before) * 1e6 / figures.requests
        row["peak_mib"] = proc.peak_bytes(pids) / MIB
    row["others_cpu_share"] = (proc.cpu_s(others) - others_before) / (figures.wall_us / 1e6)
    if counted and pids:
        # A run of its own: what perf costs is in no other figure.
        count = instructions.during(pids, lambda: run_wrk(subject, folder, cell.connections, 1).requests)
        if count is not None:
            row["instructions"] = count
    return row


def measure_streams(
    programs: Programs, folder: Path, peers: Sequence[Peer], checkout: Checkout, plan: OverheadPlan, say: Say
) -> tuple[RowList, dict[str, str]]:
    """Streams from the mock engine; the rows, and the peers that did not start."""
    upstream = start_mock(programs)
    subjects, left_out = _start_all(programs, folder, peers, checkout, upstream, say)
    warm_up = StreamCell(32, 0.0)
    _set_pace(upstream, warm_up)
    # A peer through which no stream comes is left out now, or its rows would be of failures.
    for subject in list(subjects.values()):
        seen = _load_streams(subject, warm_up, plan.warm_up_s)
        if not seen["streams"]:
            left_out[subject.name] = f"no stream came through: {seen['reasons']}"
            del subjects[subject.name]
    rows: RowList = []
    with visits(plan.rounds * len(plan.streams) * len(subjects)) as steps:
        for number, cell in itertools.product(range(plan.rounds), plan.streams):
            _set_pace(upstream, cell)
            for name in order(list(subjects), number, plan.seed):
                which = f"round {number + 1} of {plan.rounds}: {cell.name} {name}"
                steps.now(which)
                settle(subjects.values())
                row = _stream_row(subjects[name], cell, plan)
                rows.append({"round": number, "cell": cell.name, "subject": name, **row})
                steps.done(f"{which}: {row['streams']} streams")
    return rows, left_out


def _stream_row(subject: ProxyUnderTest, cell: StreamCell, plan: OverheadPlan) -> dict[str, object]:
    pids = subject.pids
    proc.forget_peak(pids)
    before = proc.cpu_s(pids)
    row = _load_streams(subject, cell, plan.stream_s if cell.interval_ms else plan.flood_s)
    if pids:
        chunks = row["chunks"]
        assert isinstance(chunks, int)
        if chunks:
            row["cpu_us"] = (proc.cpu_s(pids) - before) * 1e6 / chunks
        row["peak_mib"] = proc.peak_bytes(pids) / MIB
    return row


def _start_all(
    programs: Programs, folder: Path, peers: Sequence[Peer], checkout: Checkout, upstream: str, say: Say
) -> tuple[dict[str, ProxyUnderTest], dict[str, str]]:
    subjects = {"direct": ProxyUnderTest("direct", upstream)}
    subjects["nginx"] = start_nginx(programs, folder / "nginx", upstream)
    subjects["gateway"], _, _ = start_gateway(programs, folder / "gateway", upstream, checkout)
    left_out: dict[str, str] = {}
    for peer in peers:
        if not peer.version:
            left_out[peer.name] = "not installed (make bench-peers)"
            continue
        say(f"starting {peer.name} {peer.version}")
        try:
            subjects[peer.name] = start_peer(programs, folder / peer.name, peer, upstream)
        except (EngineFailure, OSError) as error:
            left_out[peer.name] = str(error)
    return subjects, left_out


def _set_pace(upstream: str, cell: StreamCell) -> None:
    body = json.dumps({"first_ms": cell.first_ms, "interval_ms": cell.interval_ms}).encode()
    status, _ = post(f"{upstream}/pace", body, {})
    assert status == 200


def _load_streams(subject: ProxyUnderTest, cell: StreamCell, seconds: float) -> dict[str, object]:
    argv = [sys.executable, "-m", "launch.bench.overhead.stream_load", subject.url + payload.CHAT_PATH]
    for name, value in subject.headers.items():
        argv += ["--header", f"{name}: {value}"]
    argv += ["--connections", str(cell.connections), "--tokens", str(cell.tokens)]
    argv += ["--seconds", str(seconds), "--spread", str(cell.spread_s)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 120, check=False)
    if done.returncode:
        raise EngineFailure(f"the stream client failed on {subject.name}: {done.stderr.strip()[-300:]}")
    row: dict[str, object] = json.loads(done.stdout)
    return row
