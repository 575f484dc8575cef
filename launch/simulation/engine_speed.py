"""How quick an engine is: a few figures, measured or assumed, from which its steps follow."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from gateway.errors import NOT_JSON, ConfigError


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """One engine. A decoding step takes `step_s` and more for each request and each adapter in its batch."""

    step_s: float
    step_s_per_request: float
    step_s_per_adapter: float
    prompt_tokens_per_s: float
    load_s: float
    """To bring an adapter into a slot; the step in which it comes is so much longer."""
    seats: int
    slots: int
    tokens_in_step: int = 2048
    """Prompt tokens that one step takes at the most."""
    about: str = ""
    """Where the figures come from."""

    def decode_s(self, requests: int, adapters: int) -> float:
        """One step with so many in its batch."""
        return self.step_s + self.step_s_per_request * requests + self.step_s_per_adapter * adapters

    @property
    def tokens_per_s(self) -> float:
        """With all seats and slots taken, while no prompt comes."""
        return self.seats / self.decode_s(self.seats, min(self.seats, self.slots))

    def work(self, prompt_tokens: int, output_tokens: int) -> float:
        """What a request takes of the engine, in tokens: its prompt's are counted by their time."""
        return output_tokens + prompt_tokens * self.tokens_per_s / self.prompt_tokens_per_s


CPU_DEMO = EngineSpeed(
    step_s=0.036,
    step_s_per_request=0.00125,
    step_s_per_adapter=0.0018,
    prompt_tokens_per_s=800,
    load_s=0.067,
    seats=16,
    slots=4,
    about="the demo's 135M base on two cores: steps by docs/benchmark.md, prompts and loads assumed",
)
GPU_8B = EngineSpeed(
    step_s=0.012,
    step_s_per_request=0.0002,
    step_s_per_adapter=0.0001,
    prompt_tokens_per_s=12_000,
    load_s=0.1,
    seats=64,
    slots=8,
    about="an assumption, not measured: an 8B base on one 80 GB card, adapters of rank 16 from memory",
)
KNOWN = {"cpu-demo": CPU_DEMO, "gpu-8b": GPU_8B}


def read_speed(named: str) -> EngineSpeed:
    """A known name, or a JSON file with the fields of `EngineSpeed`. Raises ConfigError."""
    if named in KNOWN:
        return KNOWN[named]
    try:
        found = msgspec.json.decode(Path(named).read_bytes(), type=EngineSpeed)
    except OSError as error:
        raise ConfigError("--engine", named, f"is neither {', '.join(KNOWN)} nor a file to read") from error
    except NOT_JSON as error:
        wanted = json.dumps({one.name: getattr(CPU_DEMO, one.name) for one in fields(CPU_DEMO)})
        raise ConfigError("--engine", named, f"does not fit ({error}); an example: {wanted}") from error
    least = min(found.step_s, found.prompt_tokens_per_s, found.seats, found.slots, found.tokens_in_step)
    if least <= 0 or min(found.step_s_per_request, found.step_s_per_adapter, found.load_s) < 0:
        raise ConfigError(
            "--engine", named, "has a speed, seats or slots of nothing, or a time below nothing"
        )
    return found
