"""Questions to an engine over HTTP, blocking, with the standard library alone; call them in a thread."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import NOT_JSON, EngineFailure
from launch.machine.direct_http import open_directly

REQUEST_TIMEOUT_S = 300.0
PROGRESS = re.compile(rb"^vllm:(?:prompt|generation)_tokens_total\S* (\S+)$", re.M)


class EngineRefusal(EngineFailure):
    """The engine answered, with an error status."""

    def __init__(self, url: str, status: int, text: str) -> None:
        super().__init__(f"{url}: {status}: {text}")
        self.status = status
        self.text = text


def call(url: str, body: Mapping[str, object] | None = None, timeout_s: float = REQUEST_TIMEOUT_S) -> object:
    """GET, or POST where there is a body; the answer's JSON, or its text. Raises EngineFailure."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with open_directly(request, timeout_s) as answer:
            read: bytes = answer.read()
    except urllib.error.HTTPError as error:
        raise EngineRefusal(url, error.code, error.read(2000).decode("utf-8", "replace")) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EngineFailure(f"{url}: {_why(error)}") from error
    try:
        document: object = json.loads(read)
    except NOT_JSON:
        return read.decode("utf-8", "replace")
    return document


def is_healthy(url: str) -> bool:
    """Whether the engine's /health answers without an error within 5 s; blocking."""
    try:
        call(f"{url}/health", timeout_s=5)
    except EngineFailure:
        return False
    return True


def served_models(url: str, timeout_s: float = 10.0) -> dict[str, str]:
    """The names that the engine serves, each with its root. Raises EngineFailure."""
    answer = call(f"{url}/v1/models", timeout_s=timeout_s)
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list):
        raise EngineFailure(f"{url}/v1/models: no list of models")
    return {str(one["id"]): str(one.get("root")) for one in data if isinstance(one, dict) and "id" in one}


def load_adapter(url: str, adapter_id: str, path: Path) -> None:
    """Load under that id; one that is loaded already is left as it is. Raises EngineFailure."""
    try:
        call(f"{url}/v1/load_lora_adapter", {"lora_name": adapter_id, "lora_path": str(path)})
    except EngineRefusal as refusal:
        if "already" not in refusal.text:
            raise


def unload_adapter(url: str, adapter_id: str) -> None:
    """Unload; one that is not loaded is no error. Raises EngineFailure."""
    try:
        call(f"{url}/v1/unload_lora_adapter", {"lora_name": adapter_id})
    except EngineRefusal as refusal:
        if (
            refusal.status != 404
            and "not found" not in refusal.text
            and "cannot be found" not in refusal.text
        ):
            raise


def tokens_done(url: str) -> float | None:
    """Tokens that the engine has read and written so far; None where it does not say."""
    try:
        with open_directly(f"{url}/metrics", 2) as answer:
            found = PROGRESS.findall(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return sum(float(value) for value in found) if found else None


def sleep_engine(url: str) -> None:
    """Level 1: weights go to the machine's memory, the cache is dropped. Level 2 loses LoRA (vllm#39934)."""
    call(f"{url}/sleep?level=1", {})


def wake_engine(url: str) -> None:
    """Have a sleeping engine wake up; blocking. Raises EngineFailure where it refuses or is not there."""
    call(f"{url}/wake_up", {})


def _why(error: Exception) -> str:
    """In words, as `connection refused`, where the system has some."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    words = cause.strerror if isinstance(cause, OSError) else None
    return (words or str(cause) or type(cause).__name__).lower()
