"""The ring of the last requests, shared by all workers."""

from __future__ import annotations

import os
from functools import partial

from gateway.metrics.recent import SLOT_BYTES, RecentRequest, RecentRequests


def request(at: float, name: str = "naming") -> RecentRequest:
    return RecentRequest(
        at,
        0.5,
        0.1,
        None,
        0.2,
        3,
        4,
        200,
        "",
        "client",
        "/v1/chat/completions",
        name,
        "naming@b",
        "e",
        "k",
        "r-1",
    )


def test_the_newest_stand_first_and_the_oldest_give_way() -> None:
    recent = RecentRequests(slots=3)
    for at in range(5):
        recent.note(partial(request, float(at)))
    assert [one.at for one in recent.latest()] == [4.0, 3.0, 2.0]
    assert recent.latest()[0] == request(4.0)


def test_one_worker_writes_and_every_worker_reads() -> None:
    recent = RecentRequests(workers=2, slots=4)
    child = os.fork()
    if not child:
        recent.take(1)
        recent.note(partial(request, 2.0, "elsewhere"))
        os._exit(0)
    os.waitpid(child, 0)
    recent.take(0)
    recent.note(partial(request, 1.0))
    assert [one.task for one in recent.latest()] == ["elsewhere", "naming"]


def test_a_worker_goes_on_behind_its_predecessor() -> None:
    recent = RecentRequests(slots=3)
    for at in range(4):
        recent.note(partial(request, float(at)))
    recent.take(0)
    recent.note(partial(request, 9.0))
    assert [one.at for one in recent.latest()] == [9.0, 3.0, 2.0]


def test_what_does_not_fit_or_is_half_written_is_left_out() -> None:
    recent = RecentRequests(slots=2)
    recent.note(partial(request, 1.0, "x" * SLOT_BYTES))
    assert recent.latest() == []
    recent.note(partial(request, 2.0))
    ring = recent._rings[0]
    ring[12:20] = b"\0" * 8
    assert recent.latest() == []
