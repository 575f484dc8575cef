"""What the control plane tells the gateways: one document, whole each time, with a version that only grows.

It stands in `<state_dir>/engine.json` (replaced atomically, mode 0600) and comes over the control socket, one
JSON line for each change. `launch` writes it, `gateway` reads it; both use these types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.errors import NOT_JSON

Document = dict[str, Any]
"""A part of the configuration by its names in YAML; msgspec knows no type of JSON values."""

FILE = "engine.json"
SOCKET = "control.sock"
UPLOADS = "uploads"
"""The folder of archives that a gateway has received for the control plane to take adapters from."""

EngineStateName = Literal["stopped", "starting", "ready", "draining", "sleeping", "failed"]
Blame = Literal["request", "memory", "unknown", "nobody"]
"""What may have ended an engine: a request; one, or anything else that took memory; of a server that is
somebody else's nobody knows; or it was ended from outside."""
FailureKind = Literal["", "crash", "hang", "out_of_memory", "start", "configuration"]
PROVING = "loading and proving"
"""How the stage of an operation begins that has an adapter at an engine."""
ToolChoices = Literal["", "none", "forced", "all"]
"""Empty: not known. `forced`: a call that is required, or named; none that the model chooses itself."""
VersionStateName = Literal["pending", "loading", "ready", "failed", "retiring"]


class EngineDeath(msgspec.Struct, frozen=True):
    """How a process that served ended."""

    process: str
    blame: Blame


class EngineStatus(msgspec.Struct, frozen=True):
    """One engine as the supervisor knows it; times are unix seconds."""

    name: str
    url: str = ""
    managed: bool = True
    """False for a server that somebody else runs."""
    state: EngineStateName = "stopped"
    stage: str = ""
    reason: str = ""
    kind: FailureKind = ""
    pid: int = 0
    started_at: float = 0.0
    load_s: float | None = None
    """How long the last start took until the proof was done."""
    last_death: EngineDeath | None = None
    restarts: int = 0
    """In a row; 0 again after a while of good service."""
    next_try_at: float | None = None
    lazy: bool = False
    """A request may start it."""
    slots: int | None = None
    """Adapters in one batch; None where it is not known."""
    priorities: bool = False
    """It heeds a request's `priority`."""
    tools: ToolChoices = ""
    """Which calls of tools it can be asked for."""
    reasoning: bool | None = None
    """Whether it tells thinking from the answer; None where that is not known."""
    prompt_logprobs: bool = False
    """It is known to score a prompt beside other requests (`gateway.dialects.prompt_scores`)."""
    loaded: list[str] = []
    """Ids of the adapters that are loaded and proven on it."""
    leaving: list[str] = []
    """Ids that are loaded on it yet, and for which no more requests are to go there."""
    adapter_loads: dict[str, int] = {}
    """How many were loaded since the control plane began, by why: first, restart, again."""
    memory_bytes: int | None = None
    """What its processes held when it became ready; None where that is not known."""
    memory_on: Literal["", "gpu", "host"] = ""
    """Where they held it: on the cards, or in main memory."""

    @property
    def process(self) -> str:
        """A name for the process behind it, which no later one has."""
        return f"{self.name} of {self.started_at:.3f}"


class VersionStatus(msgspec.Struct, frozen=True):
    """One adapter of a task."""

    id: str
    weight: float = 100.0
    """Percent of the task's requests; the weights of a task's versions add up to 100, or all are 0."""
    state: VersionStateName = "ready"
    reason: str = ""
    rank: int = 0
    size_bytes: int = 0
    source: str = ""
    added_at: float = 0.0
    fingerprint: str = ""
    """Twelve hex digits over the log-probabilities of its proof on this base and engine; empty before one."""


class ShadowStatus(msgspec.Struct, frozen=True):
    """A candidate that gets a copy of some requests and answers none."""

    id: str
    share: float
    """From 0 to 1."""


class TaskStatus(msgspec.Struct, frozen=True):
    """A task as it is wanted."""

    settings: Document = {}
    """The keys of `TaskConfig`, by their names in YAML, `adapter` included."""
    versions: list[VersionStatus] = []
    previous: str | None = None
    """The id that `rollback` returns to."""
    shadow: ShadowStatus | None = None
    configured: bool = True
    """False where a command added it, so that the configuration does not know it."""


class Operation(msgspec.Struct, frozen=True):
    """An adapter on its way in."""

    task: str
    source: str
    stage: str
    started_at: float


class MemoryPart(msgspec.Struct, frozen=True):
    """What one use of an engine's memory takes."""

    name: str
    size_bytes: int


class MemoryShares(msgspec.Struct, frozen=True):
    """What one engine was planned to take, the adapters themselves left out."""

    gpu: bool
    total_bytes: int
    """Of the card, or of main memory."""
    headroom_bytes: int
    parts: list[MemoryPart] = []


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a gateway needs to know at one moment."""

    version: int = 0
    base: str = "base"
    engines: list[EngineStatus] = []
    tasks: dict[str, TaskStatus] = {}
    pipelines: dict[str, Document] = {}
    keys: dict[str, Document] = {}
    issued_keys: dict[str, Document] = {}
    """Those that commands made, in the configuration's form; what was revoked stays, disabled."""
    tenants: dict[str, Document] | None = None
    """Of the configuration; None where whoever wrote this says nothing of them."""
    retiring: list[str] = []
    """Ids that are to be unloaded once no gateway has a request on them."""
    operations: list[Operation] = []
    memory: MemoryShares | None = None
    """None where that is not known."""
    faults: dict[str, int] = {}
    """Failures of the control plane's own background tasks, by their names; each was begun again."""
    leader: str = ""
    """Where the control plane is that wrote this; empty where no other stands by for it."""

    @property
    def tools(self) -> ToolChoices:
        """What every engine can be asked for."""
        told = [engine.tools for engine in self.engines]
        return next((choices for choices in _TOOL_CHOICES if choices in told), "")

    @property
    def reasoning(self) -> bool | None:
        """Whether every engine tells thinking from the answer; None where some do not say."""
        told = [engine.reasoning for engine in self.engines]
        return None if None in told or not told else all(told)

    @property
    def priorities(self) -> bool:
        """Whether every engine heeds a request's `priority`."""
        return all(engine.priorities for engine in self.engines)

    @property
    def prompt_logprobs(self) -> bool:
        """Whether every engine may be asked to score a prompt."""
        return all(engine.prompt_logprobs for engine in self.engines)

    @property
    def given_up(self) -> str:
        """Why none of the engines is started again; empty where one may be."""
        engines = self.engines
        if not engines or any(one.state != "failed" or one.next_try_at is not None for one in engines):
            return ""
        return "; ".join(dict.fromkeys(one.reason for one in engines))


# From the least to the most: what holds for all is the least that one of them says.
_TOOL_CHOICES: tuple[ToolChoices, ...] = ("", "none", "forced", "all")


class GatewayReport(msgspec.Struct, frozen=True):
    """What a gateway tells the control plane, at each change and every few seconds."""

    gateway: str
    """One process's own name."""
    version: int
    """Of the snapshot that it routes by."""
    in_flight: int = 0
    busy: list[str] = []
    """Ids with requests in flight, of those in `retiring`."""
    last_request_s: float | None = None
    """Seconds since its last request came; None for never."""
    waiting: int = 0
    """Requests that wait for an engine to start."""
    queue_s: float = 0.0
    """Until all that wait for a place at an engine have one, as quickly as the queue moves."""
    draining: dict[str, int] = {}
    """Requests in flight at engines that drain, by their names; none where they have none."""
    leaving: list[str] = []
    """Of what leaves engines, in the form of `on_engine`: that with requests in flight there."""
    tokens: dict[str, int] = {}
    """Read and made for each adapter since the gateway's start, where there are several engines."""


def on_engine(engine: str, adapter_id: str) -> str:
    """An adapter's being on an engine, for reports."""
    return f"{engine}/{adapter_id}"


def proving_on(engine: str) -> str:
    """The stage of an operation that has an adapter at that engine."""
    return f"{PROVING} on {engine}"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Snapshot).decode


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """One line of JSON, without its end."""
    return _encode(snapshot)


def decode_snapshot(line: bytes | str) -> Snapshot:
    """Raises ValueError where it is no snapshot."""
    return _decode(line)


def read_snapshot(path: Path) -> Snapshot | None:
    """The file's snapshot; None where there is none, or none that can be read."""
    try:
        return _decode(path.read_bytes())
    except (OSError, *NOT_JSON):
        return None


def read_later(path: Path, before: int) -> Snapshot:
    """The file's snapshot; an empty one where its version is not above `before`, that of an earlier life."""
    snapshot = read_snapshot(path)
    return snapshot if snapshot is not None and snapshot.version > before else Snapshot()
