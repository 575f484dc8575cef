"""`/ui/`: the page's routes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admission.api_keys import ANYBODY, Keys, Principal
from gateway.admission.quotas.quotas import Quotas
from gateway.config.document import NAME
from gateway.endpoints.administration import operators
from gateway.endpoints.asgi import read_small_body
from gateway.endpoints.batches.uploads import to_its_end
from gateway.errors import NOT_JSON, Forbidden, InvalidRequest, NotFound, RequestError, Unavailable
from gateway.metrics.counters import Metrics
from gateway.metrics.exposition import Buckets
from gateway.routing.replicas import Replicas
from gateway.scrape.engine_states import release
from gateway.ui.call import Guarded, Handler, PageCall
from gateway.ui.dropped import Dropped, wishes_of
from gateway.ui.files import PageFiles
from gateway.ui.overview import counts_of, engines_of, memory_of, models_of, pipelines_of
from gateway.ui.own_page import token_of
from gateway.ui.passing import Passing
from gateway.ui.sessions import LASTS_S, Sessions
from gateway.ui.shadow_records import last_records
from gateway.ui.usage import keys_of, limits_of
from gateway.ui.visible import Sight

API = "/ui/api"
UPLOAD = f"{API}/adapters"
PASS = f"{API}/pass"
MOST_REQUESTS = 200
SESSION = f"{API}/session"
SIGN_IN = ("POST", SESSION)
MOST_SIGN_IN_BYTES = 4096
"""A key and little else: nobody knows yet who sends it."""


AskControl = Callable[[str, str, bytes], Awaitable[tuple[int, msgspec.Raw]]]
"""Method, path and body for the control plane; its status and JSON. Raises RequestError."""


class _SignIn(msgspec.Struct, forbid_unknown_fields=True):
    key: str


class Page:
    """What the page asks and does; it decides nothing that another route of the gateway decides."""

    def __init__(
        self,
        keys: Keys,
        replicas: Replicas,
        metrics: Metrics,
        quotas: Quotas,
        app: ASGIApp,
        ask_control: AskControl,
    ) -> None:
        self._keys = keys
        self._replicas = replicas
        self._metrics = metrics
        self._quotas = quotas
        self._ask_control = ask_control
        self._passing = Passing(keys, app)
        config = replicas.config
        self._sessions = Sessions(config.state_dir, keys)
        self._dropped = Dropped(config.state_dir, config.adapters.max_bytes)
        self.uploads: Mapping[str, int] = {UPLOAD: config.adapters.max_bytes}
        """For the own server: what may take long to come."""

    def routes(self) -> list[Route]:
        """None of them is an API that others may rely on."""
        files = PageFiles()
        handlers: list[tuple[str, str, Handler]] = [
            ("GET", SESSION, self._session),
            ("POST", SESSION, self._sign_in),
            ("DELETE", SESSION, self._sign_out),
            ("GET", f"{API}/overview", self._overview),
            ("GET", f"{API}/requests", self._requests),
            ("GET", f"{API}/usage", self._usage),
            ("GET", f"{API}/placement", self._placement),
            ("GET", f"{API}/shadow/{{task}}", self._shadow),
            ("POST", UPLOAD, self._add),
            *((method, f"{PASS}/{{path:path}}", self._pass) for method in ("GET", "POST", "PUT", "DELETE")),
        ]
        made = [
            (path, [method], Guarded(self._keys, handler, signs_in=(method, path) == SIGN_IN))
            for method, path, handler in handlers
        ]
        return [
            Route("/ui", endpoint=_ToPage(), methods=["GET"], include_in_schema=False),
            *(Route(path, endpoint=one, methods=how, include_in_schema=False) for path, how, one in made),
            Route("/ui/{file:path}", endpoint=files, methods=["GET"], include_in_schema=False),
        ]

    def _who(self, call: PageCall) -> Principal:
        """Raises Unauthorized (401)."""
        return self._sessions.principal(call.page.session) if self._keys.required else ANYBODY

    async def _session(self, call: PageCall) -> object:
        """Who is signed in, if anybody is; it is asked first."""
        document: dict[str, object] = {"keys": self._keys.required, "version": release()}
        try:
            principal = self._who(call)
        except RequestError as error:
            sent = bool(call.page.session)
            return document | {"signed_in": False, "why": error.message if sent else ""}
        return document | self._signed_in(principal, call.page.session)

    def _signed_in(self, principal: Principal, session: str) -> dict[str, object]:
        return {
            "signed_in": True,
            "name": principal.name,
            "role": principal.role,
            "tenant": principal.tenant,
            "may_change": principal.admin or principal.role == "operator",
            "token": token_of(session),
        }

    async def _sign_in(self, call: PageCall) -> object:
        """The bound on unknown keys holds here as everywhere."""
        bounds = self._replicas.config.gateway
        body = await read_small_body(call.head, call.receive, bounds, MOST_SIGN_IN_BYTES, "a sign-in")
        try:
            key = msgspec.json.decode(bytes(body), type=_SignIn).key.strip().encode()
        except NOT_JSON as error:
            raise InvalidRequest('Send {"key": "..."}.') from error
        principal = self._keys.principal(b"Bearer " + key, (), call.scope.get("client"))
        if principal is ANYBODY:
            raise InvalidRequest("There are no keys here, so nobody signs in.")
        self._sessions.end(call.page.session)
        try:
            secret = await asyncio.to_thread(self._sessions.begin, key)
        except OSError as error:
            raise Unavailable(f"The session cannot be kept: {error.strerror}; look at the disk.") from error
        call.cookie(secret, round(LASTS_S))
        return self._signed_in(principal, secret)

    async def _sign_out(self, call: PageCall) -> object:
        self._sessions.end(call.page.session)
        call.cookie("", 0)
        return {"signed_in": False}

    async def _overview(self, call: PageCall) -> object:
        sight, replicas = Sight(self._who(call)), self._replicas
        snapshot, config = replicas.snapshot, replicas.config
        sums = await asyncio.to_thread(self._metrics.sums)
        tasks, count = models_of(config, snapshot, sight, call.query("find"))
        base = config.base.name
        return {
            "at": time.time(),
            "control_plane": replicas.control_alive,
            "base": {"name": base, "model": config.base.model if sight.reasons else ""},
            "base_open": sight.sees(base),
            "context": replicas.context_tokens(),
            "engines": engines_of(snapshot, sight),
            "memory": memory_of(snapshot, sight),
            "tasks": tasks,
            "tasks_in_all": count,
            "pipelines": pipelines_of(config, sight),
            "operations": [msgspec.to_builtins(one) for one in snapshot.operations if sight.rules(one.task)],
            "counts": counts_of(sums, sight, Buckets()),
        }

    async def _requests(self, call: PageCall) -> object:
        sight = Sight(self._who(call))
        self._metrics.recent.write_kept()  # what this worker would write within 0.2 s
        found = await asyncio.to_thread(self._metrics.recent.latest)
        fields = msgspec.structs.fields
        shown = [one for one in found if sight.sees_request(one)][:MOST_REQUESTS]
        return {
            "requests": [{field.name: getattr(one, field.name) for field in fields(one)} for one in shown]
        }

    async def _usage(self, call: PageCall) -> object:
        sight, config = Sight(self._who(call)), self._replicas.config
        return {"keys": keys_of(config, sight), "limits": limits_of(self._quotas, config, sight)}

    async def _placement(self, call: PageCall) -> object:
        """As `/admin/placement`, and for anybody where there are no keys, as the rest of the page."""
        if not Sight(self._who(call)).everything:
            raise Forbidden("Why adapters are where they are is shown to keys of the role admin.")
        status, answer = await self._ask_control("GET", "/placement", b"")
        if status != 200:
            raise Unavailable(f"The control plane does not say who is where: it answered {status}.")
        return answer

    async def _shadow(self, call: PageCall) -> object:
        sight, task = Sight(self._who(call)), call.scope["path_params"]["task"]
        if not NAME.match(task) or not sight.rules(task):
            raise NotFound(f"There is no task {task[:80]!r} here.")
        state_dir = self._replicas.config.state_dir
        return {"task": task, "records": await asyncio.to_thread(last_records, state_dir, task)}

    async def _add(self, call: PageCall) -> None:
        """The archive is taken, handed to the control plane, and gone again whatever comes of it."""
        principal, wishes = self._who(call), wishes_of(call.scope["headers"])
        if principal.role == "operator":
            operators.check_new(principal, wishes.task)
        elif not principal.admin:  # before anything of it is kept, which /admin would refuse afterwards
            raise Forbidden("Adapters are added with a key of the role admin, or of an operator.")
        file = await self._dropped.receive(wishes.file, call.head, call.receive, principal.payer)
        fields = {"task": wishes.task, "source": str(file), "canary": wishes.canary, "shadow": wishes.shadow}
        body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
        try:
            await self._passing.post(principal, "/admin/adapters", body, call.scope, call.send)
        finally:
            await to_its_end(file.unlink, True)

    async def _pass(self, call: PageCall) -> None:
        path = "/" + call.scope["path_params"]["path"]
        await self._passing.pass_on(self._who(call), path, call.scope, call.receive, call.send)


class _ToPage:
    """The page's address ends with a slash."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"location", b"/ui/"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 308, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
