"""Questions to a server beside us over HTTP, blocking; call them in a thread.

No proxy of the environment is asked: the gateway knows none on its way to an engine, so neither may what
starts and proves that engine.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx

from gateway.errors import NOT_JSON, EngineFailure
from launch.adapters.fused_experts import holds_fused

REQUEST_TIMEOUT_S = 300.0
# Of requests in flight too: vLLM counts tokens with each step, not when a request ends.
PROGRESS = re.compile(r"^vllm:(?:prompt|generation)_tokens_total\S* (\S+)$", re.M)
TAKES_ADAPTERS = "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora"


class EngineRefusal(EngineFailure):
    """The engine answered, with an error status."""

    def __init__(self, url: str, status: int, text: str) -> None:
        super().__init__(f"{url}: {status}: {text}")
        self.status = status
        self.text = text


def ask(
    url: str,
    body: object = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """GET, or POST as JSON where there is a body; the answer, whole. No redirect is followed.

    Raises EngineRefusal for a status that is no 2xx, EngineFailure where no answer comes.
    """
    content = None if body is None else json.dumps(body)  # ASCII: a path may hold bytes that are no UTF-8
    # vLLM would compress its metrics for the little way that they have.
    known = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP alone; to read certificates takes 60 ms
    try:
        with httpx.Client(trust_env=False, verify=nobody, timeout=timeout_s) as client:
            method = "GET" if body is None else "POST"
            answer = client.request(method, url, content=content, headers={**known, **(headers or {})})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EngineFailure(f"{url}: {_why(error)}") from error
    if not answer.is_success:
        raise EngineRefusal(url, answer.status_code, answer.text[:2000])
    return answer


def with_key(key: str) -> dict[str, str]:
    """The header by which an engine knows us; none where it asks for no key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def call(
    url: str,
    body: Mapping[str, object] | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    *,
    key: str = "",
) -> object:
    """As `ask`, of an engine with that key: the answer's JSON, or its text. Raises EngineFailure."""
    answer = ask(url, body, timeout_s, with_key(key))
    try:
        document: object = json.loads(answer.content)
    except NOT_JSON:
        return answer.text
    return document


def is_healthy(url: str, *, key: str = "") -> bool:
    """Whether the engine's /health answers without an error within 5 s; blocking."""
    try:
        call(f"{url}/health", timeout_s=5, key=key)
    except EngineFailure:
        return False
    return True


def served_models(url: str, *, key: str = "") -> dict[str, str]:
    """The names that the engine serves, each with its root. Raises EngineFailure."""
    answer = call(f"{url}/v1/models", timeout_s=10, key=key)
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list):
        raise EngineFailure(f"{url}/v1/models: no list of models")
    return {str(one["id"]): str(one.get("root")) for one in data if isinstance(one, dict) and "id" in one}


def load_adapter(url: str, adapter_id: str, path: Path, *, key: str = "", fused: bool = False) -> None:
    """Load under that id; one that is loaded already is left as it is. Raises EngineFailure.

    `fused`: it has a mixture's experts as one parameter; looked for in a path of this machine.
    """
    body: dict[str, object] = {"lora_name": adapter_id, "lora_path": str(path)}
    if fused or holds_fused(Path(path)):  # with MIXED_EXPERTS the engine does not tell by itself
        body["is_3d_lora_weight"] = True
    try:
        call(f"{url}/v1/load_lora_adapter", body, key=key)
    except EngineRefusal as refusal:
        # vLLM has no such route without the variable; with it a 404 names the adapter that it did not find.
        if refusal.status == 404 and adapter_id not in refusal.text:
            raise EngineFailure(f"{url} takes no adapters", TAKES_ADAPTERS) from refusal
        if "already" not in refusal.text:
            raise


def unload_adapter(url: str, adapter_id: str, *, key: str = "") -> None:
    """Unload; one that is not loaded is no error. Raises EngineFailure."""
    try:
        call(f"{url}/v1/unload_lora_adapter", {"lora_name": adapter_id}, key=key)
    except EngineRefusal as refusal:
        if (
            refusal.status != 404
            and "not found" not in refusal.text
            and "cannot be found" not in refusal.text
        ):
            raise


def tokens_done(url: str, *, key: str = "") -> float | None:
    """Tokens that the engine has read and written so far; None where it does not say."""
    try:
        found = PROGRESS.findall(ask(f"{url}/metrics", timeout_s=2, headers=with_key(key)).text)
        return sum(map(float, found)) if found else None
    except (EngineFailure, ValueError):
        return None


def sleep_engine(url: str, *, key: str = "") -> None:
    """Level 1: weights go to the machine's memory, the cache is dropped. Level 2 loses LoRA (vllm#39934)."""
    call(f"{url}/sleep?level=1", {}, key=key)


def wake_engine(url: str, *, key: str = "") -> None:
    """Have a sleeping engine wake up; blocking. Raises EngineFailure where it refuses or is not there."""
    call(f"{url}/wake_up", {}, key=key)


def _why(error: Exception) -> str:
    """In words, as `connection refused`, without the system's number for it."""
    return (str(error).rpartition("] ")[2] or type(error).__name__).lower()
