"""`/admin/usage`: who has used how much; an operator sees its own tenant's keys."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Receive, Scope, Send

from gateway.endpoints.administration.commands import NOT_KEPT, Administration
from gateway.endpoints.asgi import Head, send_json
from gateway.endpoints.resource import query_of
from gateway.routing.replicas import Replicas
from gateway.usage.report import BY, SINCE, question, usage_report


class AdminUsage:
    """What is on the disk: all workers' until about a second ago. It needs no control plane."""

    def __init__(self, administration: Administration, replicas: Replicas) -> None:
        self._administration = administration
        self._replicas = replicas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head, administration = Head(scope["headers"]), self._administration
        principal = administration.known(head, scope.get("client"))
        administration.check_role(principal, or_operator=True)
        query = query_of(scope, ("by", "since"))
        asked = question(query.get("by", BY), query.get("since", SINCE), time.time())
        tenant = principal.tenant if principal.role == "operator" else None
        report = await asyncio.to_thread(usage_report, self._replicas.config, asked, tenant)
        await send_json(send, report, head.request_id, extra=NOT_KEPT)
