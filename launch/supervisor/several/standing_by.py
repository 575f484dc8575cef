"""A control plane that does not lead: its socket tells each command where the leader is, and the last table
that the leader wrote is kept for this machine's own commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.agreement.link import Away, RedisLink
from gateway.agreement.policies import LOOK_S
from gateway.agreement.table_scripts import TABLE, VERSION
from gateway.errors import Unavailable
from gateway.whole_files import write_whole
from launch.supervisor.control_server import refused
from launch.supervisor.several.leadership import Leader

METHODS = ["GET", "POST", "PUT", "DELETE"]
RETRY_AFTER_S = 5


def standing_by_app(leader: Callable[[], Leader | None]) -> Starlette:
    """An API that answers 503 on every path and names the leader, while another one leads."""

    async def elsewhere(request: Request) -> Response:
        return await refused(request, not_here(leader()))

    return Starlette(routes=[Route("/{rest:path}", elsewhere, methods=METHODS)])


def not_here(leader: Leader | None) -> Unavailable:
    """Where a command is to go instead."""
    if leader is None:
        text = "No control plane leads yet, as far as this one has heard of it through Redis; try again."
    else:
        text = f"This control plane stands by; the one that leads is on {leader.where}: ask there."
    return Unavailable(text, code="control_plane_elsewhere", retry_after_s=RETRY_AFTER_S)


async def mirror(link: RedisLink, place: Path) -> None:
    """Keep the leader's table in a file as it changes, until cancelled."""
    seen: bytes | None = None
    while True:
        with suppress(Away, OSError):  # tried again soon
            # The version first: of a change in between the table is written twice, and never missed.
            (version,) = await link.many(link.key(*VERSION))
            if version != seen and (line := await link.get(link.key(*TABLE))) is not None:
                write_whole(place, line + b"\n")
                seen = version
        await asyncio.sleep(LOOK_S)
