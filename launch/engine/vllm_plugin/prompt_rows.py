"""Which rows of a batch are projected to logits, for a prompt's log-probabilities (vLLM 0.32).

vLLM projects two sorts of rows. What is sampled has one row for each entry of the wrapper's
`sampler_indices`. A prompt that is scored (`prompt_logprobs`, `echo` with `logprobs`) has rows of its
positions, at any number, beside the same indices, which say nothing of them. Those rows are a slice of the
step's hidden states, and each hidden state has its slot in `token_lora_indices`; so where the slice begins is
noted here while it is projected.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import torch

Project = Callable[[torch.Tensor], Any]
Method = Callable[..., Any]
MOST_ROWS = 256
"""Of a prompt, so many are projected and scored at once."""
_FOLLOWED = "rows_are_followed"  # a method's mark

_projected: ContextVar[slice | None] = ContextVar("rows of the batch that are projected", default=None)


class Indices(Protocol):
    """What is read of vLLM's wrapper: a slot for each row of the batch, and for each that is sampled."""

    token_lora_indices: torch.Tensor
    sampler_indices: torch.Tensor


def slots_of(wrapper: Indices, rows: int) -> torch.Tensor | None:
    """The slot of each of the `rows` that are projected now; None: nobody knows whose they are."""
    projected = _projected.get()
    slots = wrapper.sampler_indices if projected is None else wrapper.token_lora_indices[projected]
    return slots if len(slots) == rows else None


def locating(project: Project, batch: torch.Tensor) -> Project:
    """`project`, with a note of where in `batch` the rows lie that it is given."""

    @functools.wraps(project)
    def located(rows: torch.Tensor) -> Any:
        first = _row_of(rows, batch)
        noted = _projected.set(slice(first, first + len(rows)))
        try:
            return project(rows)
        finally:
            _projected.reset(noted)

    return located


def _row_of(part: torch.Tensor, whole: torch.Tensor) -> int:
    """Where `part` begins in `whole`, of which it is a slice."""
    if not len(part):
        return 0
    if part.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr():
        raise RuntimeError("rows of a prompt are projected that are none of the step's hidden states")
    return int(part.storage_offset() - whole.storage_offset()) // int(whole.stride(0))


def in_runner(scored: Method) -> Method:
    """For a runner's method that scores prompts with `self.model.compute_logits`.

    It would hold the logits of a step's whole prompt at once, several times the vocabulary for each row, and
    the kernel's answer to that is to end the engine: so it gets each prompt in pieces, as of several steps.
    """

    @functools.wraps(scored)
    def scored_by_row(self: Any, hidden_states: torch.Tensor, num_scheduled_tokens: dict[str, int]) -> Any:
        found: dict[str, Any] = {}
        if not self.num_prompt_logprobs:
            return found
        with _replaced(self.model, hidden_states):
            for request_id in [one for one in self.num_prompt_logprobs if one in num_scheduled_tokens]:
                request, tokens = self.requests[request_id], num_scheduled_tokens[request_id]
                first = request.num_computed_tokens
                try:
                    for done in range(0, tokens, MOST_ROWS):
                        if request_id not in self.num_prompt_logprobs:
                            break  # its prompt is over; what follows was generated before it was preempted
                        request.num_computed_tokens = first + done
                        piece = {request_id: min(MOST_ROWS, tokens - done)}
                        found |= scored(self, hidden_states[done:], piece)
                finally:
                    request.num_computed_tokens = first
        return found

    return scored_by_row


@contextmanager
def _replaced(model: Any, batch: torch.Tensor) -> Iterator[None]:
    model.compute_logits = locating(
        model.compute_logits, batch
    )  # above the class's, for as long as this lasts
    try:
        yield
    finally:
        del model.compute_logits


def with_function(scored: Method) -> Method:
    """For a method that scores prompts with a function that it is given."""

    @functools.wraps(scored)
    def scored_by_row(
        self: Any, logits_fn: Project, hidden_states: torch.Tensor, *others: Any, **named: Any
    ) -> Any:
        return scored(self, locating(logits_fn, hidden_states), hidden_states, *others, **named)

    return scored_by_row


@dataclass(frozen=True)
class Scorer:
    """A method of vLLM's that scores prompts, and how the rows that it projects are followed."""

    module: str
    owner: str
    method: str
    takes: tuple[str, ...]
    """Its first parameters."""
    followed: Callable[[Method], Method]


_RUNNER = "vllm.v1.worker.gpu_model_runner"  # the CPU's runner inherits from it
_RUNNER_V2 = "vllm.v1.worker.gpu.sample.prompt_logprob"
_ROWS = ("self", "hidden_states", "num_scheduled_tokens")
_FUNCTION = ("self", "logits_fn", "hidden_states")
SCORERS = (
    Scorer(_RUNNER, "GPUModelRunner", "_get_prompt_logprobs_dict", _ROWS, in_runner),
    Scorer(_RUNNER_V2, "PromptLogprobsWorker", "compute_prompt_logprobs", _FUNCTION, with_function),
    Scorer(_RUNNER_V2, "PromptLogprobsWorker", "compute_prompt_token_id_logprobs", _FUNCTION, with_function),
)


def follow_scorers(loaded: Mapping[str, ModuleType]) -> None:
    """Follow what this process's runner projects. To be called once that is loaded; again does nothing.

    Raises RuntimeError where no runner is known, or one is not as it should be.
    """
    found = [one for one in SCORERS if one.module in loaded]
    if not found:
        raise RuntimeError(f"vLLM scores prompts in none of {_RUNNER} and {_RUNNER_V2}")
    for one in found:
        owner = getattr(loaded[one.module], one.owner, None)
        method = getattr(owner, one.method, None)
        if method is None:
            raise RuntimeError(f"{one.module} has no {one.owner}.{one.method}")
        if not getattr(method, _FOLLOWED, False):
            takes = tuple(inspect.signature(method).parameters)
            if takes[: len(one.takes)] != one.takes:
                raise RuntimeError(f"{one.owner}.{one.method} takes {', '.join(takes)}")
            followed = one.followed(method)
            setattr(followed, _FOLLOWED, True)
            setattr(owner, one.method, followed)
