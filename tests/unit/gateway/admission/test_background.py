"""Places for what no client waits for: only where there is room, and beside every bound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.admission.background import LOOK_EVERY_S, Background
from gateway.admission.limits import Admission
from tests.fakes.virtual_time import now, passed, virtual
from tests.support.stack import config_of


@virtual
async def test_place_is_waited_for_and_counts_against_no_client(tmp_path: Path) -> None:
    admission = Admission(config_of(tmp_path, max_in_flight=1), clock=now)
    background = Background(admission)
    client = await admission.enter("base", "base")
    entering = asyncio.create_task(background.enter("naming", "naming@1"))
    await passed(10 * LOOK_EVERY_S)
    assert not entering.done()
    admission.leave(client, "base")
    await entering
    assert (admission.in_flight, admission.held) == (0, 1)
    assert admission.busy("naming@1") == 1
    assert admission.try_enter("base", "base") is not None  # as if nothing else ran
    background.leave("naming@1")
    assert (admission.held, admission.busy("naming@1")) == (0, 0)


@virtual
async def test_nothing_begins_while_a_client_waits(tmp_path: Path) -> None:
    admission = Admission(config_of(tmp_path, max_in_flight=2, max_in_flight_per_task=1), clock=now)
    first = await admission.enter("base", "base")
    waiting = asyncio.create_task(admission.enter("base", "base"))
    await asyncio.sleep(0)
    entering = asyncio.create_task(Background(admission).enter("naming", None))  # another task has room
    await passed(10 * LOOK_EVERY_S)
    assert not entering.done()
    admission.leave(first, "base")
    await waiting
    await entering


@virtual
async def test_unknown_task_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        await Background(Admission(config_of(tmp_path), clock=now)).enter("nobody", None)
