"""What the Python API raises.

LoraGatewayError
└── ClientError
    ├── NotConfigured          a call before configure_models
    ├── AlreadyConfigured      configure_models with other settings than those in force
    ├── InvalidArgument        an argument that cannot be (a ValueError too)
    ├── AdapterNotLoaded       a model or adapter that the gateway does not have
    ├── GatewayUnreachable     nobody answers there, or the connection broke off
    ├── StackFailed            the stack that configure_models started ended or cannot become ready
    ├── OutputInvalid          an answer that is not the JSON that was asked for
    └── AnswerError            an error that the gateway answered with
        ├── AuthenticationFailed   401
        ├── PermissionDenied       403
        ├── RequestRefused         400, 413, 415, 431
        ├── RateLimited            429
        ├── EngineStarting         503
        ├── Overloaded             503
        ├── EngineFailed           502, 503
        ├── PipelineFailed         502, a stage's answer was of no use
        └── TimedOut               504
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.errors import NOT_JSON, LoraGatewayError, did_you_mean

SHOWN_TEXT = 400
"""Characters of an answer that an error repeats; its attribute has them all."""


class ClientError(LoraGatewayError):
    """Whatever the Python API raises on purpose."""


class NotConfigured(ClientError):
    """Nothing says which gateway to ask."""

    def __init__(self) -> None:
        super().__init__(
            "No gateway is configured: call configure_models first, with paths (await "
            "manager.configure_models(base_model_path=…, concept_adapter_path=…)) to start one or with "
            "url='http://…' to use one that runs; or set LORA_GATEWAY_URL. Outside a coroutine, "
            "configure_models_sync does the same."
        )


class AlreadyConfigured(ClientError):
    """Other settings are in force, here or in the state directory."""


class InvalidArgument(ClientError, ValueError):
    """An argument cannot be used; `name` says which, the message also why."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name


def unknown_argument(name: str, known: Iterable[str]) -> InvalidArgument:
    """The error that names the nearest spelling, and all of them."""
    names = list(known)
    hint = did_you_mean(name, names, "did you mean '{}'? ")
    return InvalidArgument(name, f"unknown argument; {hint}known: {', '.join(names)}")


class AdapterNotLoaded(ClientError):
    """`name` cannot be used now; `loaded` has what can."""

    def __init__(self, name: str, loaded: Iterable[str], *, known: bool = False, reason: str = "") -> None:
        self.name = name
        self.loaded = tuple(loaded)
        hint = did_you_mean(name, self.loaded, "did you mean '{}'? Else ")
        mend = f"{hint}check that its path was configured ({adapter_variable(name)}); "
        if known:
            mend = "its path was configured, but the engine does not have it (lora-gateway status says why); "
        why = f"{reason.rstrip('.')}; " if reason else ""
        super().__init__(
            f"Adapter '{name}' not loaded: {why}{mend}loaded: {', '.join(self.loaded) or 'none'}."
        )


def adapter_variable(task: str) -> str:
    """The environment's name for a task's adapter path."""
    return task.upper().replace("-", "_") + "_ADAPTER_PATH"


class GatewayUnreachable(ClientError):
    """`url` is where the gateway was looked for."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"No gateway answers at {url} ({reason}): check the address (url= or LORA_GATEWAY_URL) and "
            "that it runs there (lora-gateway up)."
        )
        self.url = url


class ConnectionLost(GatewayUnreachable):
    """The connection broke off in the middle of a call; whether the engine ran it is not known."""

    def __init__(self, url: str, reason: str) -> None:
        ClientError.__init__(self, f"The gateway at {url} broke off in the middle of a call ({reason}).")
        self.url = url


class StackFailed(ClientError):
    """`log` is the file with everything that the stack said."""

    def __init__(self, reason: str, log: Path) -> None:
        super().__init__(f"{reason} (the whole log: {log})")
        self.reason = reason
        self.log = log


class OutputInvalid(ClientError):
    """`text` is the whole answer; `finish_reason` is `length` where max_tokens cut it short."""

    def __init__(self, model: str, text: str, problem: str, finish_reason: str | None) -> None:
        cut = " It was cut short by max_tokens: raise it." if finish_reason == "length" else ""
        shown = text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT] + "…"
        super().__init__(
            f"The answer of '{model}' is not the JSON that was asked for: {problem}.{cut} It reads: {shown}"
        )
        self.model = model
        self.text = text
        self.problem = problem
        self.finish_reason = finish_reason


class AnswerError(ClientError):
    """The gateway's error, with what it said; `retry_after_s` where it said when to come again."""

    advice = ""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{message} {self.advice}".strip())
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class AuthenticationFailed(AnswerError):
    advice = "Give the key as configure_models(api_key=…), or set LORA_GATEWAY_API_KEY."


class PermissionDenied(AnswerError):
    advice = "The key's `tasks` in the gateway's configuration say what it may call."


class RequestRefused(AnswerError):
    """`param` names what is wrong, where one thing is."""


class RateLimited(AnswerError):
    advice = "Wait for retry_after_s seconds, or raise the task's max_in_flight and max_waiting."


class EngineStarting(AnswerError):
    advice = "Call again after retry_after_s seconds."


class Overloaded(AnswerError):
    advice = "Wait for retry_after_s seconds, or raise gateway.max_in_flight and gateway.max_waiting."


class EngineFailed(AnswerError):
    advice = "`lora-gateway status` and the log of launch say why."


class PipelineFailed(AnswerError):
    """The message names the stage."""


class TimedOut(AnswerError):
    advice = "Ask for fewer tokens, or raise the time-outs of the section gateway."


STATUSES = {"invalid_request_error": 400, "rate_limit_error": 429, "service_unavailable": 503, "timeout": 504}
"""What an error within a stream would have been answered with, by its type; else it is a 502."""


def answer_error(
    status: int | None, body: bytes, headers: Mapping[str, str], model: str, loaded: Iterable[str]
) -> ClientError:
    """The exception for an answer that is no success; `loaded` are the adapters known when it was asked.

    `status` is None for an error within a stream.
    """
    told = _told(body)
    if status is None:
        status = STATUSES.get(str(told.get("type")), 502)
    code = _text(told.get("code"))
    message = _text(told.get("message")) or f"The gateway answered with status {status}."
    if code in ("model_not_found", "adapter_not_loaded"):
        reason = message if code == "adapter_not_loaded" else ""
        return AdapterNotLoaded(model, loaded, known=code == "adapter_not_loaded", reason=reason)
    kinds: dict[int, type[AnswerError]] = {
        400: RequestRefused,
        401: AuthenticationFailed,
        403: PermissionDenied,
        413: RequestRefused,
        415: RequestRefused,
        429: RateLimited,
        431: RequestRefused,
        502: EngineFailed,
        503: {"overloaded": Overloaded, "engine_not_running": EngineFailed}.get(code or "", EngineStarting),
        504: TimedOut,
    }
    kind = kinds.get(status, AnswerError)
    if status == 502 and code and code.startswith("stage_"):
        kind = PipelineFailed
    return kind(
        status,
        message,
        code=code,
        param=_text(told.get("param")),
        request_id=headers.get("x-request-id"),
        retry_after_s=_seconds(headers.get("retry-after")),
    )


def _told(body: bytes) -> Mapping[str, object]:
    """What stands in OpenAI's envelope; empty where the answer is none."""
    try:
        document = json.loads(body)
    except NOT_JSON:
        return {}
    told = document.get("error") if isinstance(document, dict) else None
    return told if isinstance(told, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:  # a date, which no gateway of ours sends
        return None
