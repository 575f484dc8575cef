"""What keeps a task's fallback from answering. LiteLLM is imported only where a configuration has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config.document import Config, FallbackConfig, TaskConfig, environment
from gateway.relay.fallback.litellm_loader import import_library
from gateway.relay.fallback.policy import ASKED
from launch.planning.findings import Finding


def fallback_findings(config: Config, env: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Every mend; `env` is for tests."""
    env = environment() if env is None else env
    for name, task in config.tasks.items():
        if task.fallback is not None and task.fallback.when:
            key = f"tasks.{name}.fallback"
            yield from _of_one(key, task, task.fallback, env)


def _of_one(
    key: str, task: TaskConfig, fallback: FallbackConfig, env: Mapping[str, str]
) -> Iterator[Finding]:
    variable = fallback.api_key_env
    if variable is not None and not env.get(variable):
        yield Finding("error", f"{key}.api_key_env", f"set {variable} in the environment or in .env")
    strange = sorted(set(task.defaults) - ASKED)
    if strange:
        listed = ", ".join(strange)
        yield Finding(
            "warning",
            key,
            f"OpenAI's API has no {listed}, which the task's defaults ask for: it would never answer a chat",
        )
    try:
        litellm: Any = import_library()
    except ImportError:
        yield Finding("error", key, "LiteLLM is not installed: pip install 'lora-gateway[fallback]'")
        return
    litellm.suppress_debug_info = True  # it prints an address of its own to stdout else, into `check --json`
    try:
        litellm.get_llm_provider(fallback.model)
    except litellm.BadRequestError:
        provider = fallback.model.partition("/")[0]
        text = f"{fallback.model}: LiteLLM knows no provider '{provider}'"
        yield Finding("error", f"{key}.model", text)
