"""What a route of the engine's needs that another one does not."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import msgspec

from gateway.config.document import JsonObject
from gateway.dialects.chat.as_chat import AsChat
from gateway.dialects.chat.conversion import Conversion
from gateway.dialects.chat.request_parts import CannotAsk
from gateway.dialects.description import Description
from gateway.dialects.engine_errors import refusal_of
from gateway.dialects.harmless import ignore
from gateway.dialects.kinds import COUNTED_MEMBERS, ELSEWHERE, HARMLESS, IDLE, STEERING
from gateway.dialects.parameters import (
    MOST_UNKNOWN,
    Limits,
    Rule,
    asks_nothing,
    unknown,
    unsupported,
)
from gateway.dialects.prompt_faults import CHAT, Form, fault_in
from gateway.dialects.request_body import Fields, says_system, text_field, with_member, without_idle_choice
from gateway.dialects.spelling import misspelt, plain
from gateway.errors import NOT_JSON, InvalidRequest, RequestError
from gateway.http.engine_connection import Segments
from gateway.http.event_stream import EventStream, TokenUsage
from gateway.routing.table import Contract, Route

_encode = msgspec.json.Encoder().encode
_STEERING = {plain(name): name for name in sorted(STEERING - {"enable_thinking", "thinking_budget"})}
"""By whatever way they are written: Gemini's API has `stopSequences` and `generationConfig`."""
# `int` raises for more than 4,300 digits, and the engine's words may quote a client's.
_MESSAGE = re.compile(r"\bmessages\[(\d{1,9})\]")
_NO_TOOLS = msgspec.Raw(b"[]")
NOTHING: Mapping[str, Rule] = MappingProxyType({})


class ListedModel(msgspec.Struct, gc=False):
    """A model of `/v1/models` in OpenAI's form, its members in this order.

    A struct, since a list may have thousands: as a dict each takes three times as long.
    """

    id: str
    object: str
    created: int
    owned_by: str
    kind: str
    description: str
    root: str | None
    """The engine's id."""
    parent: str | None
    """The base."""
    max_model_len: int | None
    endpoints: msgspec.Raw
    capabilities: msgspec.Raw
    schema: msgspec.Raw | None
    """What a task's answers hold to."""


class Asked(NamedTuple):
    """A request that the engine refused, as far as its error is told by it."""

    prompt: msgspec.Raw | None = None
    """What the client sent under the name of the dialect's `prompt`."""
    has_system: bool = False
    """Its task has a system prompt."""


UNSEEN = Asked()


class Dialect(ABC):
    """One API; without state, one object for each of its routes.

    A request passes `check_fields`, `ask_for_usage` where it is a stream, `apply_contract`, `encode_body`,
    its answer `usage_of`, or `events` in a stream.
    """

    name: ClassVar[str]
    """In documents, and in what a model is said to support."""
    described: ClassVar[Description]
    """For the OpenAPI document."""
    passed: ClassVar[frozenset[str]]
    """The engine's parameters that go through, some within bounds (`rules`)."""
    labels: ClassVar[frozenset[str]] = frozenset()
    """The API's parameters that are taken and change nothing in an answer."""
    refused: ClassVar[Mapping[str, str]]
    """Parameters of the API or of the engine that are not taken, and why or what to do instead.

    With nothing in it, such as an empty list, one asks for nothing and is harmless.
    """
    harmless: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What else of the API cannot change what an answer means, and the mend where it is refused (`kinds`)."""
    rules: Mapping[str, Rule] = NOTHING
    """Of those that are taken, the ones whose value is looked at."""
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What a task's defaults are called here, where that is not their name in a chat."""
    rewritten: ClassVar[Mapping[str, Callable[[msgspec.Raw], msgspec.Raw]]] = MappingProxyType({})
    """Of a task's defaults, which are a chat's, those that have another form here."""
    lengths: tuple[str, ...] = ()
    """What bounds an answer's length, the one that counts first; none where a request has several prompts."""
    listed: str = ""
    """What may list several prompts or inputs at once (`cost.sequences`)."""
    model_required: bool = True
    """Else the base is meant where none is named."""
    api_key_header: ClassVar[bool] = False
    """Its clients send their key as `x-api-key`, which every route takes."""
    id_header: bytes = b""
    """Where its clients look for a request's id, beside `x-request-id`; empty where nowhere."""
    missing_route: ClassVar[str] = ""
    """What is said where the engine has no such route, since the base does not do that."""
    prompt: str = "messages"
    """The parameter that holds the conversation; empty where there is none."""
    form: ClassVar[Form] = CHAT
    """What its messages look like."""
    system_among_messages: ClassVar[bool] = False
    """A task's system prompt is sent as the first of the messages."""
    conversion: ClassVar[Conversion | None] = None
    """To a chat and back; None where no answer is a model's text."""

    def __init__(self, path: str) -> None:
        self.path = path.encode()
        """The gateway's and the engine's."""
        # What each request asks for is the object's own: what a class has is looked up anew each time.
        self.rules = dict(self.rules)
        for name in ("id_header", "lengths", "listed", "model_required", "prompt"):
            setattr(self, name, getattr(self, name))
        self.generates = self.conversion is not None
        """Answers with a model's text; only then pipelines run on it, and a candidate has copies."""
        self.plain = (self.passed | self.labels) - self.rules.keys()
        """What goes through unseen."""
        known = self.passed | self.labels | self.refused.keys()
        self.ignored = {key: why for key, why in HARMLESS.items() if key not in known} | {**self.harmless}
        """What is taken and has no effect."""
        self._counted = known | self.ignored.keys() | self.rules.keys()

    def unwritten(self, defaults: Iterable[str]) -> list[str]:
        """Of a task's defaults those that this API has no parameter for."""
        return sorted(key for key in defaults if self.renamed.get(key, key) not in self.passed)

    def model_of(self, fields: Fields, base: str) -> str:
        """The public name that is asked for. Raises InvalidRequest."""
        if not self.model_required and ("model" not in fields or bytes(fields["model"]) == b"null"):
            return base
        return text_field(fields, "model")

    def check_fields(self, fields: Fields, limits: Limits, contract: Contract | None = None) -> list[str]:
        """Refuse what cannot be honoured or would harm the engine, and take out what is harmless.

        `contract` is the task's, which may leave no room for what is asked. The names of what was taken out
        are returned, of an object's member as `object.member`. Raises InvalidRequest.
        """
        if "tool_choice" in fields and contract is not None:
            self._show_tools(fields, contract.defaults)
        plain, rules = self.plain, self.rules
        ignored: list[str] = []
        looked_at = 0
        for key in tuple(fields):  # some are taken out, or written beside them
            if key in plain:
                continue
            if (rule := rules.get(key)) is not None:
                if found := rule(key, fields, limits):
                    ignored += found  # of a long conversation it may be many
                continue
            ignored += self._look(key, fields, limits)
            looked_at += 1
            if looked_at > MOST_UNKNOWN:
                raise unsupported(key, f"More than {MOST_UNKNOWN} parameters have no meaning here.")
        return ignored

    def _show_tools(self, fields: Fields, defaults: Mapping[str, msgspec.Raw]) -> None:
        """Who brings a choice and no tools chooses among the task's, so that both are looked at together."""
        if "tools" in defaults and "tools" in self.passed and asks_nothing(fields.get("tools", _NO_TOOLS)):
            fields["tools"] = self.rewritten.get("tools", _as_it_is)(defaults["tools"])

    def _look(self, key: str, fields: Fields, limits: Limits) -> Sequence[str]:
        """At what is neither honoured nor has a rule."""
        if (why := self.ignored.get(key)) is not None:
            return ignore(key, fields, limits, why)
        if (why := self.refused.get(key)) is not None:
            if not limits.strict and asks_nothing(fields[key]):
                return ignore(key, fields, limits, why)
            raise unsupported(key, f"'{key}' is not supported: {why}")
        known = self.passed | self.labels
        if limits.strict:
            raise unknown(key, known)
        if asks_nothing(fields[key]):
            return ignore(key, fields, limits, "")
        # What is given under its own name is not what a name like it stands for: `models` beside `model`.
        meant = key if key in STEERING else _STEERING.get(plain(key), "")
        steers = self.generates and bool(meant) and (meant == key or meant not in fields)
        if steers and meant in ELSEWHERE:
            raise unsupported(key, f"'{key}' is not supported: {ELSEWHERE[meant]}")
        if steers or misspelt(key, known - IDLE - fields.keys()):
            raise unknown(key, known)
        return ignore(key, fields, limits, "")

    def length_of(self, fields: Fields) -> tuple[str, int] | None:
        """The parameter that bounds the answer's length, which was checked, and its value in tokens."""
        for key in self.lengths:
            if key in fields:
                return key, int(bytes(fields[key]))
        return None

    def as_chat(self, body: JsonObject) -> AsChat:
        """The chat that a request asks for, without what changes nothing in an answer.

        Raises CannotAsk where a chat cannot say it, InvalidRequest where something is missing.
        """
        if self.conversion is None:
            raise CannotAsk(f"requests on this route ({self.name}) have none")
        return self.conversion.read(
            {key: value for key, value in body.items() if value is not None and key not in self.labels}
        )

    def label_of(self, parameter: str) -> str:
        """What an ignored parameter, or a member of one, is counted as: a name of the tables, or `other`."""
        if parameter in COUNTED_MEMBERS:
            return parameter
        # A client's own words would each make a series of their own.
        name = parameter.partition(".")[0].partition("[")[0]
        return name if name in self._counted else "other"

    def sticky_of(self, fields: Fields) -> bytes | None:
        """What a client calls its own user, as JSON: it ties requests to one of several versions."""
        # Not decoded: equal JSON is the same user, and `""` names nobody.
        user = bytes(fields.get("user", fields.get("safety_identifier", b"")))
        return user if len(user) > 2 and user.startswith(b'"') else None

    def ask_for_usage(self, fields: Fields) -> bool:
        """Have a stream end with its usage; False where the client did not ask and must not see it.

        Raises InvalidRequest.
        """
        return True

    @abstractmethod
    def apply_contract(self, fields: Fields, route: Route) -> None:
        """Write the engine's model name and, where the client gave none, the task's own settings."""

    def take_defaults(self, fields: Fields, defaults: Mapping[str, msgspec.Raw], effort_in: str) -> None:
        """A task's defaults by this API's names, where the client gave none; `effort_in` names the object
        that says how long to think. Raises InvalidRequest where the client's is no object.
        """
        for key, value in without_idle_choice(defaults, fields).items():
            name = self.renamed.get(key, key)
            write = self.rewritten.get(key, _as_it_is)
            if name == effort_in:
                with_member(fields, name, "effort", write(value))
            elif name in self.passed and name not in fields:
                fields[name] = write(value)

    def give_priority(self, fields: Fields, priority: msgspec.Raw) -> None:
        """Where the engine schedules by priority: a larger number comes later, 0 is a client's own."""
        fields["priority"] = priority

    @abstractmethod
    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        """The body for the engine; `received_bytes`, the size of what came, decides whether it is joined.

        Raises InvalidRequest.
        """

    @abstractmethod
    def usage_of(self, answer: bytes) -> TokenUsage | None:
        """The usage in a whole answer, or None."""

    @abstractmethod
    def events(self, usage_wanted: bool) -> EventStream:
        """What reads a stream on its way through; `usage_wanted` is what `ask_for_usage` said."""

    def id_headers(self, request_id: bytes) -> list[tuple[bytes, bytes]]:
        """As `id_header`, with its value."""
        return [(self.id_header, request_id)] if self.id_header else []

    def error_body(self, error: RequestError, request_id: bytes) -> bytes:
        """An error in the API's envelope: OpenAI's."""
        return _encode(error.envelope)

    def model_entry(self, model: ListedModel) -> object:
        """A model of `/v1/models` in the API's form."""
        return model

    def model_list(self, models: list[ListedModel]) -> object:
        """`/v1/models` in the API's form."""
        return {"object": "list", "data": models}

    def refusal(
        self, status: int, answer: bytes, request_id: bytes, asked: Asked = UNSEEN
    ) -> tuple[int, bytes]:
        """What a client is told where the engine refused: its reason, in the API's envelope.

        Places are those of the client's own count, where it is told what the client sent.
        """
        error = None
        if status == 400:
            told = refusal_of(answer, self.passed)
            error = self._fault_in(asked, answer) or (told and self._recounted(told, asked))
        if error is None and not (answer.lstrip().startswith(b"{") and b'"error"' in answer):
            error = self._unread(asked, status)  # the page of a proxy before it, or what could not read it
        return (status, answer) if error is None else (error.status, self.error_body(error, request_id))

    def _unread(self, asked: Asked, status: int) -> InvalidRequest:
        """Where the engine gave no reason: it reads UTF-8 alone, which is not looked at before."""
        try:
            bytes(asked.prompt or b"").decode()
        except UnicodeDecodeError as error:
            why = f"'{self.prompt}' is not UTF-8 text: {error.reason} at its byte {error.start}."
            return InvalidRequest(why, param=self.prompt, status=status)
        return InvalidRequest("The engine refused the request.", status=status)

    def _fault_in(self, asked: Asked, answer: bytes) -> InvalidRequest | None:
        """What is wrong with the conversation, where that is what the engine refused."""
        if asked.prompt is None:
            return None
        try:
            document = msgspec.json.decode(asked.prompt)
        except NOT_JSON:
            return None
        fault = fault_in(self.form, self.prompt, document, answer.decode("utf-8", "replace"))
        return None if fault is None else InvalidRequest(f"{fault[1]}.", param=fault[0])

    def _recounted(self, error: InvalidRequest, asked: Asked) -> InvalidRequest:
        """An error of the engine's, whose list of messages may begin with the task's own."""
        if not (asked.has_system and self.system_among_messages and asked.prompt is not None):
            return error
        if says_system({self.prompt: asked.prompt}, self.prompt):
            return error
        message, param = (_MESSAGE.sub(_one_less, text) for text in (error.message, error.param or ""))
        return InvalidRequest(message, param=param or None, code=error.code, status=error.status)

    def last_event(self, error_body: bytes) -> bytes:
        """An error as the last event of a stream. In JSON a line break only stands between two tokens."""
        return b"data: " + one_line(error_body) + b"\n\n"


def _as_it_is(value: msgspec.Raw) -> msgspec.Raw:
    return value


def _one_less(place: re.Match[str]) -> str:
    return f"messages[{max(int(place[1]) - 1, 0)}]"


def one_line(document: bytes) -> bytes:
    """JSON without line breaks, which in JSON only stand between two tokens."""
    return document.replace(b"\r", b" ").replace(b"\n", b" ")
