"""How quick an engine is: a few figures, measured or assumed, from which its steps follow."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import msgspec

from gateway.errors import NOT_JSON, ConfigError

Speed = Annotated[float, msgspec.Meta(gt=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """One engine. A decoding step takes `step_s` and more for each request and each adapter in its batch."""

    step_s: Speed
    step_s_per_request: Seconds
    step_s_per_adapter: Seconds
    prompt_tokens_per_s: Speed
    load_s: Seconds
    """To bring an adapter into a slot; the step in which it comes is so much longer."""
    seats: Count
    slots: Count
    tokens_in_step: Count = 2048
    """Prompt tokens that one step takes at the most."""
    curve: tuple[tuple[int, Speed], ...] = ()
    """(requests, seconds) of steps that were measured, in place of `step_s` and what each request adds: a
    batch grows dearer by no straight line. Between two the step lies between theirs."""
    answer_s: Seconds = 0.0
    """To a first token beyond the steps: the way there and back, which keeps nobody else waiting."""
    wake_s: Seconds = 0.0
    """What a step takes longer before which nobody was in the batch."""
    pack_s_per_adapter: Seconds = 0.0
    """Where adapters in one batch share products, made once it has had the same ones for `steps_to_pack`
    decoding steps and one of them is new in its slot: what that step takes longer for each."""
    steps_to_pack: Count = 4
    together: Speed = 1.0
    """How many times longer a step is while all other engines of the same machine are at work too."""
    about: str = ""
    """Where the figures come from."""

    def decode_s(self, requests: int, adapters: int) -> float:
        """One step with so many in its batch."""
        if self.curve:
            return between(self.curve, requests) + self.step_s_per_adapter * adapters
        return self.step_s + self.step_s_per_request * requests + self.step_s_per_adapter * adapters

    @property
    def tokens_per_s(self) -> float:
        """With all seats and slots taken, while no prompt comes."""
        return self.seats / self.decode_s(self.seats, min(self.seats, self.slots))

    def work(self, prompt_tokens: int, output_tokens: int) -> float:
        """What a request takes of the engine, in tokens: its prompt's are counted by their time."""
        return output_tokens + prompt_tokens * self.tokens_per_s / self.prompt_tokens_per_s


def between(curve: Sequence[tuple[int, float]], at: int) -> float:
    """The value of a curve that goes straight from point to point, and on as its last piece does."""
    if len(curve) == 1 or at <= curve[0][0]:
        return curve[0][1]
    # No step takes 0 s, so that (at, 0.0) sorts right before the point of `at` itself.
    place = min(bisect_left(curve, (at, 0.0)), len(curve) - 1)
    (left, before), (right, after) = curve[place - 1 : place + 1]
    return before + (after - before) * (at - left) / (right - left)


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
        # Not Path.expanduser, which raises where there is no such user.
        found = msgspec.json.decode(Path(os.path.expanduser(named)).read_bytes(), type=EngineSpeed)
    except OSError as error:
        raise ConfigError("--engine", named, f"is neither {', '.join(KNOWN)} nor a file to read") from error
    except NOT_JSON as error:
        wanted = json.dumps({one.name: getattr(CPU_DEMO, one.name) for one in fields(CPU_DEMO)})
        raise ConfigError("--engine", named, f"does not fit ({error}); an example: {wanted}") from error
    sizes = [size for size, _ in found.curve]
    if sizes != sorted(set(sizes)):
        raise ConfigError("--engine", named, "has a curve whose batches do not become larger")
    return found
