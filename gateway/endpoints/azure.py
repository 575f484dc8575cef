"""Azure's form of OpenAI's routes: the model is a deployment and stands in the path; or `/openai/v1/…`."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dialects.registry import DEPLOYED

DEPLOYMENT = "gateway.deployment"
"""The scope's key of a model that a path names; nothing that comes over a connection can set it."""


class Deployment:
    """An endpoint whose model the path names; the body's own, which may be left out, does not count."""

    def __init__(self, endpoint: ASGIApp) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = scope["path_params"]["task"].replace("%2F", "/")  # of the base's name, where it holds a slash
        named = {**scope, DEPLOYMENT: task}
        await self._endpoint(named, receive, send)


def azure_routes(endpoints: Mapping[str, ASGIApp], models: ASGIApp) -> list[Route]:
    """Every route of Azure's, of the endpoints by their own paths; `api-version` is read by none."""
    there = {suffix: endpoints[f"/v1{suffix}"] for suffix in DEPLOYED if f"/v1{suffix}" in endpoints}
    return [
        *(
            Route(f"/openai/deployments/{{task}}{suffix}", endpoint=Deployment(endpoint), methods=["POST"])
            for suffix, endpoint in there.items()
        ),
        *(
            Route(f"/openai/v1{suffix}", endpoint=endpoint, methods=["POST"])
            for suffix, endpoint in there.items()
        ),
        Route("/openai/responses", endpoint=there["/responses"], methods=["POST"]),
        *(
            Route(path, endpoint=models, methods=["GET"])
            for path in ("/openai/models", "/openai/v1/models", "/openai/v1/models/{model:path}")
        ),
    ]
