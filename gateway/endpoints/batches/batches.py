"""`/v1/batches`, and what files and batches are made of in one gateway."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.admission.api_keys import Keys
from gateway.batches.attempts import Attempts
from gateway.batches.concurrency import Concurrency
from gateway.batches.database import NoRoom, Store
from gateway.batches.engines import Engines
from gateway.batches.in_process import Endpoints
from gateway.batches.input_lines import LINE_OVERHEAD_BYTES
from gateway.batches.job import JobServices
from gateway.batches.records import (
    WINDOW_S,
    BatchRecord,
    checked_metadata,
    kept_seconds,
    new_batch_id,
    new_file_id,
)
from gateway.batches.runner import DAY_S, Runner
from gateway.batches.storage import BatchStorage, found_file
from gateway.config.document import GatewayConfig
from gateway.dialects.request_body import Fields, decode_body, text_field
from gateway.endpoints.asgi import read_small_body
from gateway.endpoints.batches.files import PATH as FILES_PATH
from gateway.endpoints.batches.files import PURPOSE, FileEndpoints, storage_full
from gateway.endpoints.batches.uploads import FORM_OVERHEAD_BYTES
from gateway.endpoints.resource import (
    JsonDocument,
    Resource,
    ResourceRequest,
    check_known,
    limit_of,
    page_of,
    query_of,
)
from gateway.errors import NOT_JSON, InvalidRequest, NotFound, TooManyRequests
from gateway.metrics.counters import Metrics
from gateway.routing.cold_start import WaitingRoom
from gateway.routing.replicas import Replicas
from gateway.upkeep import Upkeep

PATH = "/v1/batches"
BATCHED = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
"""What a batch may name, as far as the gateway has it."""
KNOWN_FIELDS = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
MOST_LISTED = 100
MAX_BODY_BYTES = 64 * 1024
"""Names, and metadata of at most 16 times 576 characters."""


class BatchEndpoints:
    """Every route of batches and files, and who runs them."""

    def __init__(
        self,
        endpoints: Mapping[str, ASGIApp],
        keys: Keys,
        replicas: Replicas,
        room: WaitingRoom,
        metrics: Metrics,
        upkeep: Upkeep,
    ) -> None:
        config = replicas.config
        self.enabled = config.batches.enabled
        self._bounds: GatewayConfig = config.gateway
        self._keys = keys
        self.library = BatchStorage(config)
        self._endpoints = Endpoints({path: endpoints[path] for path in BATCHED if path in endpoints})
        self.attempts = Attempts(self._endpoints.ask, keys, Engines(replicas, room))
        means = JobServices(
            self.library,
            keys,
            replicas,
            self.attempts,
            Concurrency(config.batches.max_in_flight),
            config.gateway.max_body_bytes + LINE_OVERHEAD_BYTES,
        )
        self.runner = Runner(means, metrics, upkeep)

    @property
    def uploads(self) -> dict[str, int]:
        """Paths of uploads, and how many bytes their bodies may have."""
        most_bytes = self.library.settings.max_file_bytes + FORM_OVERHEAD_BYTES
        return {FILES_PATH: most_bytes} if self.enabled else {}

    def routes(self) -> list[Route]:
        if not self.enabled:
            return []
        return [
            *FileEndpoints(self._keys, self.library).routes(),
            Route(
                PATH,
                endpoint=Resource(self._keys, {"POST": self._create, "GET": self._list}),
                methods=["GET", "POST"],
            ),
            Route(f"{PATH}/{{id}}", endpoint=Resource(self._keys, {"GET": self._show}), methods=["GET"]),
            Route(
                f"{PATH}/{{id}}/cancel",
                endpoint=Resource(self._keys, {"POST": self._cancel}),
                methods=["POST"],
            ),
        ]

    def start(self) -> None:
        if self.enabled:
            self.runner.start()

    async def stop(self) -> None:
        await self.runner.stop()
        self.library.close()

    async def _create(self, call: ResourceRequest) -> JsonDocument:
        fields = decode_body(
            await read_small_body(call.head, call.receive, self._bounds, MAX_BODY_BYTES, PATH)
        )
        check_known(fields, KNOWN_FIELDS)
        file_id = text_field(fields, "input_file_id")
        endpoint = text_field(fields, "endpoint")
        if endpoint not in self._endpoints.paths:
            raise InvalidRequest(
                f"The endpoint '{endpoint[:80]}' takes no batches; these do: "
                f"{', '.join(self._endpoints.paths)}.",
                param="endpoint",
            )
        window = text_field(fields, "completion_window")
        if window != f"{WINDOW_S // 3600}h":
            raise InvalidRequest(
                f"'completion_window' must be '{WINDOW_S // 3600}h'.", param="completion_window"
            )
        # One trip to the store's thread, with all that is to be looked at: each takes every coroutine above
        # it along (72).
        record = self._record(call.principal.name, endpoint, file_id, fields)
        await self.library.ask(partial(self._add, record))
        self.library.news.set()  # for a runner in this process; one in another looks each half second
        return record.document()

    def _add(self, record: BatchRecord, store: Store) -> None:
        """In the store's own thread. Raises RequestError where the file or the bounds are against it."""
        file_id, owner = record.input_file, record.owner
        file = found_file(file_id, store.file(file_id, owner, record.created_at), param="input_file_id")
        if file.purpose != PURPOSE:
            raise InvalidRequest(
                f"The purpose of '{file_id}' is '{file.purpose}'; a batch reads files of the purpose "
                f"'{PURPOSE}'.",
                param="input_file_id",
            )
        kept_bytes = store.kept_bytes(owner)
        most_bytes, most_of_key = self.library.most_bytes(self._keys.several)
        if kept_bytes > most_of_key:  # the results of one file asked again and again
            raise storage_full(NoRoom(kept_bytes, own=True), most_bytes, most_of_key)
        most = self.library.settings.max_open
        if not store.add_batch(record, most):
            raise TooManyRequests(
                f"The key has {most} unfinished batches, the most that it may (batches.max_open).",
                retry_after_s=60,
            )

    def _record(self, owner: str, endpoint: str, file_id: str, fields: Fields) -> BatchRecord:
        """Raises InvalidRequest."""
        now = self.library.now
        return BatchRecord(
            id=new_batch_id(),
            owner=owner,
            endpoint=endpoint,
            input_file=file_id,
            output_file=new_file_id(),
            error_file=new_file_id(),
            status="validating",
            metadata=checked_metadata(_decoded(fields, "metadata")),
            results_kept_s=_kept_s(_decoded(fields, "output_expires_after"), self.library.settings.keep_days),
            created_at=now,
            expires_at=now + WINDOW_S,
        )

    async def _list(self, call: ResourceRequest) -> JsonDocument:
        query = query_of(call.scope, ("after", "limit"))
        limit = limit_of(query, 20, MOST_LISTED)
        after = query.get("after")
        found = await self.library.ask(
            lambda store: store.batches(call.principal.name, after=after, limit=limit)
        )
        if found is None:
            raise _no_batch(after or "", "after")
        return page_of([record.document() for record in found], limit)

    async def _show(self, call: ResourceRequest) -> JsonDocument:
        return (await self._batch(call)).document()

    async def _batch(self, call: ResourceRequest) -> BatchRecord:
        """Raises NotFound, also where it is another key's."""
        batch_id = call.named
        record = await self.library.ask(lambda store: store.batch(batch_id, call.principal.name))
        if record is None:
            raise _no_batch(batch_id, "id")
        return record

    async def _cancel(self, call: ResourceRequest) -> JsonDocument:
        record = await self._batch(call)
        now = self.library.now
        if not await self.library.ask(lambda store: store.cancel(record.id, now)):
            record = await self._batch(call)
            if record.status not in ("cancelling", "cancelled"):
                raise InvalidRequest(
                    f"Cannot cancel a batch with status '{record.status}'.",  # OpenAI's words and status
                    param="id",
                    code="batch_not_cancellable",
                    status=409,
                )
        self.library.news.set()
        return (await self._batch(call)).document()


def _no_batch(batch_id: str, param: str) -> NotFound:
    return NotFound(f"There is no batch '{batch_id[:80]}'.", param=param)


def _decoded(fields: Fields, key: str) -> object:
    """Raises InvalidRequest."""
    if key not in fields:
        return None
    try:
        return msgspec.json.decode(fields[key])
    except NOT_JSON as error:
        raise InvalidRequest(f"'{key}' is not valid JSON: {error}", param=key) from None


def _kept_s(asked: object, keep_days: int) -> int:
    if asked is None:
        return keep_days * DAY_S
    if not isinstance(asked, dict):
        raise InvalidRequest("'output_expires_after' must be an object.", param="output_expires_after")
    return kept_seconds(asked.get("anchor"), asked.get("seconds"), "output_expires_after")
