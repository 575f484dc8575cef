"""The one tree of errors.

    LoraGatewayError
    ├── ConfigError            what a person must mend before a start: key, value, mend (exit code 2)
    ├── EngineFailure          the engine died or never became ready (exit code 1)
    └── RequestError           one request's answer: status, type, code, message
        ├── InvalidRequest     400
        ├── Unauthorized       401
        ├── Forbidden          403
        ├── ModelNotFound      404
        ├── NotFound           404, 405
        ├── PayloadTooLarge    413
        ├── UnsupportedMedia   415
        ├── HeadTooLarge       431
        ├── TooManyRequests    429
        │   └── DeadlineUnreachable 429
        ├── EngineError        502
        │   └── EngineKilled   500
        ├── Unavailable        503 (engine starting, or overloaded)
        ├── DeadlineExceeded   504 (the client's own)
        └── GatewayTimeout     504

`RequestError.envelope` is OpenAI's `{"error": {"message", "type", "param", "code"}}`; only the
endpoints turn it into bytes.
"""

from __future__ import annotations

import copyreg
import difflib
import heapq
import itertools
from collections.abc import Iterable, Sequence

NOT_JSON = (ValueError, RecursionError)
"""What decoding raises, by `json` or by msgspec: not JSON, another shape, no UTF-8, nested too deeply."""

NAMES_SHOWN = 100
"""More model names than this are not listed in an error."""

NAMES_COMPARED = 500
"""Among more names than this only those that begin alike are compared: each comparison costs microseconds."""

LONGEST_COMPARED = 128
"""Characters; a longer word is no misspelling."""

CLOSELY = 32
"""Names compared in the order of their letters, at the most; those that share most are first."""

LEAST_ALIKE = 0.6
"""Of `difflib`'s ratio; what is below is another word."""


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate spelled most like `word`, or None where nothing comes near."""
    if len(word) > LONGEST_COMPARED:
        return None
    known = {candidate.lower(): candidate for candidate in candidates}
    if len(known) > NAMES_COMPARED:
        start = word.lower()[:-2] or word.lower()
        alike = (name for name in known if name.startswith(start[:8]) and abs(len(name) - len(word)) <= 2)
        known = {name: known[name] for name in itertools.islice(alike, NAMES_COMPARED)}
    word = word.lower()
    # As `difflib.get_close_matches` finds it, which compares each as closely as the nearest.
    ranked = ((_most_alike(word, name), name) for name in known)
    best, found = LEAST_ALIKE, ""
    matcher = difflib.SequenceMatcher(b=word)
    for most, name in heapq.nlargest(CLOSELY, (one for one in ranked if one[0] >= LEAST_ALIKE)):
        if most < best:
            break
        matcher.set_seq1(name)
        best, found = max((best, found), (matcher.ratio(), name))
    return known.get(found)


def _most_alike(word: str, name: str) -> float:
    """What their ratio cannot exceed, for a small part of its cost."""
    both = len(word) + len(name)
    if 2.0 * min(len(word), len(name)) < LEAST_ALIKE * both:
        return 0.0
    rest = name
    for letter in word:
        rest = rest.replace(letter, "", 1)
    return 2.0 * (len(name) - len(rest)) / (both or 1)


def first_of(names: Sequence[str], most: int) -> str:
    """Names for people, of very many the first and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(word: str, candidates: Iterable[str], form: str = "; did you mean '{}'?") -> str:
    """What an error says of the candidate spelled most like `word`; empty where nothing comes near."""
    found = nearest(word, candidates)
    return form.format(found) if found else ""


SENTENCE = " Did you mean '{}'?"
"""That form as a sentence of its own."""

TROUBLESHOOTING = "docs/troubleshooting.md"
"""The page that says what to do; each code is an anchor of it."""

SETTING_CODES = {
    "--config": "config_file",
    "--data": "training_data",
    "--url": "gateway_unreachable",
    "LORA_GATEWAY_API_KEY": "invalid_api_key",
    "LORA_GATEWAY_CACHE": "folder",
    "--out": "folder",
    "--output": "folder",
    "state_dir": "folder",
    "gateway.port": "port",
    "gateway.tls": "tls",
    "tasks": "adapter",
    "SOURCE": "adapter",
    "source": "adapter",
    "--adapter": "adapter",
    "adapters": "adapter",
    "adapters.roots": "setting",
    "adapters.max_bytes": "setting",
    "base": "base_model",
    "--base": "base_model",
    "pipelines": "pipeline",
    "train": "missing_package",
    "evaluate": "missing_package",
}
"""The code of a ConfigError, by its key or what the key begins with."""


class LoraGatewayError(Exception):
    """Everything this project raises on purpose."""

    code: str | None = None
    """Where the page on troubleshooting has it."""

    def __reduce__(self) -> tuple[object, ...]:
        """Without `__init__`, which takes other arguments: a pool of processes that cannot read one hangs."""
        made = copyreg.__newobj__  # type: ignore[attr-defined]  # which typeshed leaves out
        return made, (type(self), *self.args), self.__dict__


def see(code: str | None) -> str:
    """Where to read on about an error, to stand behind it; empty without a code."""
    return f"see {TROUBLESHOOTING}#{code}" if code else ""


def told(error: LoraGatewayError) -> str:
    """An error as a command says it: one line, which ends with where to read on."""
    line = f"error: {' '.join(str(error).split())}"
    return f"{line} ({see(error.code)})" if error.code else line


def code_of_setting(key: str) -> str:
    """The code of a ConfigError about `key`: a setting, an option or an argument of a command."""
    parts = key.partition(" ")[0].split(".")
    for length in range(len(parts), 0, -1):
        code = SETTING_CODES.get(".".join(parts[:length]).partition("[")[0])
        if code is not None:
            return code
    return "argument" if key.startswith("-") or key.isupper() else "setting"


class ConfigError(LoraGatewayError):
    """A setting, folder or machine that is not as it must be; printed as one line, exit code 2."""

    def __init__(self, key: str, value: object, mend: str, *, code: str | None = None) -> None:
        shown = value if isinstance(value, str) else repr(value)
        super().__init__(f"{key}: {shown}: {mend}" if shown else f"{key}: {mend}")
        self.code = code or code_of_setting(key)
        self.key = key
        self.value = value
        self.mend = mend


class EngineFailure(LoraGatewayError):
    """The engine died or never became ready; `advice` is what to try, or empty."""

    code = "engine_failed"

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason} ({advice})" if advice else reason)
        self.reason = reason


class ProviderFailed(LoraGatewayError):
    """The other model did not answer; `what` names the failure without the provider's own words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class RequestError(LoraGatewayError):
    """The answer to one request that cannot be served."""

    status = 500
    kind = "internal_error"
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Of the answer, beside the usual ones."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        kind: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if kind is not None:
            self.kind = kind

    @property
    def envelope(self) -> dict[str, dict[str, str | None]]:
        """The body of the answer in OpenAI's form: `error` with `message`, `type`, `param` and `code`."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def internal_error() -> RequestError:
    """The 500 for a fault of ours, whose trace is in the log."""
    return RequestError("The gateway failed on this request; its log says why.", code="internal_error")


class InvalidRequest(RequestError):
    status = 400
    kind = "invalid_request_error"
    code = "invalid_request"


class Unauthorized(RequestError):
    status = 401
    kind = "invalid_request_error"
    code = "invalid_api_key"
    headers = ((b"www-authenticate", b"Bearer"),)  # as RFC 9110 asks of every 401 (15.5.2)


class Forbidden(RequestError):
    status = 403
    kind = "permission_denied"
    code = "permission_denied"


class ModelNotFound(RequestError):
    status = 404
    kind = "invalid_request_error"
    code = "model_not_found"

    @classmethod
    def naming(cls, model: str, valid: Iterable[str]) -> ModelNotFound:
        """The 404 that lists every valid model and the nearest spelling."""
        names = sorted(valid)
        hint = did_you_mean(model, names, SENTENCE)
        shown = model if len(model) <= 120 else model[:117] + "..."
        listed = first_of(names, NAMES_SHOWN) or "none"
        return cls(f"The model '{shown}' does not exist.{hint} Valid models: {listed}.", param="model")

    @classmethod
    def version(cls, model: str, task: str, loaded: Iterable[str]) -> ModelNotFound:
        """The 404 for one version of a task, which is not loaded (any more)."""
        listed = ", ".join(loaded) or "none"
        return cls(
            f"The version '{model[:120]}' is not loaded. Ask for '{task}', or for one of its versions that "
            f"are: {listed}.",
            param="model",
        )


class NotFound(RequestError):
    status = 404
    kind = "invalid_request_error"
    code = "not_found"


class PayloadTooLarge(RequestError):
    status = 413
    kind = "invalid_request_error"
    code = "payload_too_large"


class UnsupportedMedia(RequestError):
    status = 415
    kind = "invalid_request_error"
    code = "unsupported_media_type"


class HeadTooLarge(RequestError):
    status = 431
    kind = "invalid_request_error"
    code = "head_too_large"

    def __init__(self) -> None:
        super().__init__("The request's headers are too large.")


class TooManyRequests(RequestError):
    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class DeadlineUnreachable(TooManyRequests):
    """Its turn would come later than its client waits, so it does not wait at all."""

    code = "deadline_unreachable"


class DeadlineExceeded(RequestError):
    """Its client waits no longer. No `GatewayTimeout`: nothing failed that was asked for it."""

    status = 504
    kind = "timeout"
    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__(
            "The answer was not there within the time that the request gave it "
            "(x-request-timeout-ms, or what its SDK says it waits)."
        )


class EngineError(RequestError):
    status = 502
    kind = "engine_error"
    code = "engine_error"


class EngineKilled(EngineError):
    """The request was in flight at two deaths of an engine."""

    status = 500
    code = "engine_killed_by_request"


class Unavailable(RequestError):
    status = 503
    kind = "service_unavailable"
    code = "engine_starting"


class GatewayTimeout(RequestError):
    status = 504
    kind = "timeout"
    code = "timeout"
