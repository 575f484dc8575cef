"""A process on its way out says so, and when to come again."""

from __future__ import annotations

from gateway.errors import Unavailable
from gateway.http.drain import COME_AGAIN_S, Drain, shutting_down


def test_nothing_is_over_before_it_has_begun() -> None:
    broken: list[Unavailable] = []
    drain = Drain(lambda fault: broken.append(fault()))
    assert (drain.begun, drain.over, broken) == (False, False, [])
    drain.break_off(shutting_down)
    assert [error.code for error in broken] == ["shutting_down"]


def test_client_is_told_when_to_come_again() -> None:
    error = shutting_down()
    assert (error.status, error.retry_after_s) == (503, COME_AGAIN_S)
