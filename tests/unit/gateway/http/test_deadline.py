"""One timer for a connection: it fires at the last deadline that was set, and only once."""

from __future__ import annotations

import asyncio

from gateway.http.deadline import Deadline
from tests.fakes.virtual_time import now, passed, virtual


class Connection(Deadline):
    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.late_at: list[float] = []

    def _late(self) -> None:
        self.late_at.append(now())


@virtual
async def test_later_deadline_counts_and_an_earlier_one_too() -> None:
    made = Connection()
    made._set_deadline(5)
    await passed(4)
    made._set_deadline(5)  # put off to 9
    await passed(100)
    made._set_deadline(50)
    made._set_deadline(1)
    await passed(100)
    assert [round(at, 3) for at in made.late_at] == [9, 105]


@virtual
async def test_timer_is_not_made_anew_for_each_step() -> None:
    made = Connection()
    made._set_deadline(5)
    timer = made._timer
    for _ in range(10):
        await passed(0.1)
        made._set_deadline(5)
    assert made._timer is timer


@virtual
async def test_disarmed_it_is_never_late() -> None:
    made = Connection()
    made._set_deadline(5)
    made._disarm()
    await passed(100)
    assert made.late_at == []
