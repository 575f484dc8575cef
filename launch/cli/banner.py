"""What `lora-gateway` says of a gateway: address, page, models, and a call that works as it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from gateway.config.document import Config
from gateway.errors import first_of
from launch.machine.gateway_address import page_of

KEY_VARIABLE = "LORA_GATEWAY_API_KEY"
MODELS_SHOWN = 12
SAMPLE_TASK = "naming"
"""Of the demo's; what SAMPLE is for."""
SAMPLE = "Definition: a round fruit with firm white flesh\nMembers: pippin, russet"


def banner_lines(config: Config, url: str, models: Sequence[str], *, keyed: bool = False) -> list[str]:
    """`models` are the names that may be asked for; `keyed`: there are keys beside the configuration's."""
    model = example_model(config)
    keyed = keyed or bool(config.keys) or config.gateway.keys_required
    lines = [*address_lines(url), f"models   {first_of(models, MODELS_SHOWN)}"]
    if keyed:
        lines.append(f"key      needed: export {KEY_VARIABLE}=…  (`lora-gateway keys create NAME` makes one)")
    return [*lines, "try      " + chat_curl(url, model, SAMPLE, keyed=keyed)]


def address_lines(url: str) -> list[str]:
    """Where a gateway is reached."""
    return [f"address  {url}/v1  (for any OpenAI client as base_url)", f"page     {page_of(url)}"]


def example_model(config: Config) -> str:
    """What a newcomer asks first: the task that the sample is for, else the first, else the base."""
    return SAMPLE_TASK if SAMPLE_TASK in config.tasks else next(iter(config.tasks), config.base.name)


def chat_curl(url: str, model: str, content: str, *, keyed: bool = False) -> str:
    """A command for a shell, whatever stands in `content`."""
    messages = [{"role": "user", "content": content}]
    body = json.dumps({"model": model, "messages": messages}, ensure_ascii=False)
    quoted = "'" + body.replace("'", "'\\''") + "'"
    key = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if keyed else ""
    return f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json'{key} -d {quoted}"


def nothing_runs(config: Path, *, exists: bool) -> list[str]:
    """What to do where no gateway runs from this folder."""
    lines = ["nothing is served from here yet:"]
    if exists:
        place = shlex.quote(str(config))
        lines.append(f"  lora-gateway up                    engine and gateway by {place}, until Ctrl-C")
    else:
        lines.append("  lora-gateway init --adapter NAME=FOLDER   a configuration for adapters of yours")
    return [*lines, "  lora-gateway demo                  everything once, on a small model"]
