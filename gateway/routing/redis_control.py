"""The control plane of another machine, by way of Redis: its table as it changes, and what it is told."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

import msgspec

from gateway.agreement.link import Away, RedisLink
from gateway.agreement.policies import LOOK_S, MEMBER_ALIVE_S
from gateway.agreement.table_scripts import CONTROL, DEMAND, NEWS, REPORT, TABLE, VERSION, report_keys
from gateway.config.snapshot import GatewayReport, Snapshot, decode_snapshot
from gateway.errors import NOT_JSON, EngineError, Unavailable
from gateway.routing.control_socket import ControlPlane

logger = logging.getLogger("gateway.routing.redis_control")

OLDER = (
    "the table in Redis is older (%d) than the one in force (%d), which goes on; where what the control "
    "planes share was begun anew, start this gateway again"
)
DEMAND_S = 30.0
"""A wish for an engine that no control plane has heard by then is forgotten."""


class RedisControl:
    """As `control_socket.Control`. A message says that there is a new table; a look each second, too."""

    def __init__(self, link: RedisLink, beside: ControlPlane | None = None) -> None:
        """`beside`: a control plane on this machine, which leads or says where the one is that does."""
        self._link = link
        self._beside = beside
        self._newest = 0

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Reports and the wish for an engine; everything else is for a control plane on this machine. Raises
        Unavailable (503), also where there is none.
        """
        try:
            if (method, path) == ("POST", "/gateways"):
                name = msgspec.json.decode(body, type=GatewayReport).gateway
                await self._link.run(REPORT, report_keys(self._link), [name, body, f"{MEMBER_ALIVE_S:.0f}"])
                return 204, b""
            if (method, path) == ("POST", "/engines/start"):
                await self._link.put(self._link.key(*DEMAND), "1", DEMAND_S)
                return 202, b""
        except Away as error:
            raise Unavailable("Redis does not answer.", code="control_plane_gone", retry_after_s=5) from error
        if self._beside is not None:
            return await self._beside.request(method, path, body)
        raise Unavailable(
            "The control plane runs on another machine (shared.follow): ask the gateway there.",
            code="control_plane_elsewhere",
        )

    async def snapshots(self, gateway: str) -> AsyncGenerator[Snapshot, None]:
        """As over the socket; never one that is older than what was given before.

        Raises EngineError where Redis is away or no control plane writes to it.
        """
        link, seen = self._link, None
        try:
            # Listening begins before the first look, so that no change falls between the two.
            async with link.heard(link.key(NEWS)) as message:
                while True:
                    version, writes = await link.many(link.key(*VERSION), link.key(*CONTROL))
                    if writes is None:
                        raise EngineError("No control plane writes its table to Redis.")
                    if version is not None and version != seen:
                        snapshot = _read(await link.get(link.key(*TABLE)))
                        seen = version
                        # A server that was restored from a dump would let revoked keys in again (design 91).
                        if snapshot.version >= self._newest:
                            self._newest = snapshot.version
                            yield snapshot
                        else:
                            logger.warning(OLDER, snapshot.version, self._newest)
                    await message(LOOK_S)
        except Away as error:
            raise EngineError(f"Redis is away: {error}") from error

    def close(self) -> None:
        """The link is another's to close."""
        if self._beside is not None:
            self._beside.close()


def _read(line: bytes | None) -> Snapshot:
    try:
        return decode_snapshot(line or b"")
    except NOT_JSON as error:
        raise EngineError(f"The table in Redis cannot be read: {error}") from error
