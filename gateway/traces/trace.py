"""What the gateway asks of a tracer, and what a request tells it at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

_OPERATIONS = {b"/v1/completions": "text_completion", b"/v1/embeddings": "embeddings"}


def operation_of(path: bytes, generates: bool) -> str:
    """`gen_ai.operation.name` of a request for that path of the engine's."""
    other = "chat" if generates else path.rpartition(b"/")[2].decode()
    return _OPERATIONS.get(path, other)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request went. Times are seconds of `time.perf_counter`."""

    operation: str
    model: str
    """As it was asked for."""
    provider: str
    """Whose model answered: vLLM's (`vllm`), or a fallback's, as LiteLLM names its provider."""
    adapter: str
    """The model there; empty for a pipeline's own request, and where none was reached."""
    status: int
    error: str
    """Its code; empty for none."""
    arrived: float
    queue_s: float
    sent: float
    """To the engine; 0 for never."""
    engine_s: float
    first_token_s: float | None
    """After `arrived`; None for an answer in one piece."""
    prompt_tokens: int | None
    completion_tokens: int | None
    attributes: Mapping[str, str | bool]
    """Further ones, under `lora_gateway.`."""


class RequestTrace(Protocol):
    """One request's spans, or those of a pipeline's stage."""

    def child(self) -> RequestTrace:
        """For a stage of it."""

    def sent(self) -> bytes:
        """It goes to an engine now: the header lines that say which span is its parent there."""

    def unsent(self) -> None:
        """It did not go there after all, and none other was asked."""

    def left_engine(self) -> None:
        """What it was sent to, where it was sent, did not take it."""

    def waited_for_slot(self, seconds: float) -> None:
        """Of its wait for a place, so long its adapter had no LoRA slot."""

    def ended(self, how: Ended) -> None:
        """All its spans are complete; once."""


class Tracer(Protocol):
    """Opens a trace for each request of one worker."""

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> RequestTrace:
        """For a request that has just come; its headers may name the client's own span."""

    def stop(self) -> None:
        """Send what is left, for a few seconds at most. It blocks."""
