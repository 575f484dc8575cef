"""Logits of every shape that vLLM's runners send, row by row against sums done by hand."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from launch.engine.vllm_plugin.cpu_lora import LOGIT_ROWS, StepwiseLora
from launch.engine.vllm_plugin.products import Plain
from launch.engine.vllm_plugin.prompt_rows import MOST_ROWS, SCORERS, follow_scorers, locating

SLOTS, RANK, SIZE, VOCABULARY = 3, 2, 4, 7


class Indices:
    """vLLM's wrapper."""


class Wrapper(StepwiseLora, Indices):
    """What vLLM's wrapper knows of one step: `requests` as (slot, tokens)."""

    make_product = Plain

    def __init__(self, requests: list[tuple[int, int]], *, heads: bool = True) -> None:
        super().__init__()
        self.sampler_indices = torch.tensor([slot for slot, _ in requests])
        self.token_lora_indices = torch.tensor([slot for slot, length in requests for _ in range(length)])
        source = torch.Generator().manual_seed(len(requests))
        self.a = torch.randn(SLOTS, 1, RANK, SIZE, generator=source)
        self.b = torch.randn(SLOTS, 1, VOCABULARY, RANK, generator=source) * heads
        self.batch = torch.randn(len(self.token_lora_indices), SIZE, generator=source)

    def compute_logits(self, rows: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(rows), VOCABULARY)
        # A copy, as a model makes one that scales its hidden states before it projects them.
        self.add_lora_logits(logits, rows.clone(), self.a, self.b, 2.0)
        return logits

    def by_hand(self, rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        sums = [
            2 * self.b[slot, 0] @ (self.a[slot, 0] @ row) if slot >= 0 else torch.zeros(VOCABULARY)
            for row, slot in zip(rows, slots.tolist(), strict=True)
        ]
        return torch.stack(sums)


STEPS = {
    "decode": [(0, 1), (-1, 1), (1, 1), (0, 1)],
    "prefill": [(1, 5), (-1, 3), (0, 9)],
    "one": [(2, 6)],
    "as many tokens as requests": [(0, 3), (-1, 1), (1, 1)],
    "mixed": [(0, 1), (1, 1), (-1, 1), (2, 4), (-1, 1), (1, 2), (-1, 6)],
    "long": [(-1, 1), (1, 2 * LOGIT_ROWS + 3), (0, 1)],
    "base": [(-1, 1), (-1, 7)],
}
steps = pytest.mark.parametrize("requests", STEPS.values(), ids=STEPS)


@steps
def test_what_is_sampled_has_its_requests_slot(requests: list[tuple[int, int]]) -> None:
    wrapper = Wrapper(requests)
    last = torch.cumsum(torch.tensor([length for _, length in requests]), 0) - 1
    rows = wrapper.batch[last]
    torch.testing.assert_close(wrapper.compute_logits(rows), wrapper.by_hand(rows, wrapper.sampler_indices))


@steps
def test_a_prompts_rows_have_their_own_requests_slot(requests: list[tuple[int, int]]) -> None:
    """Each request's rows, less the last ones: a short tail of a chunk, one row, none."""
    wrapper, start = Wrapper(requests), 0
    project = locating(wrapper.compute_logits, wrapper.batch)
    for slot, length in requests:
        for count in {length, length - 1, 1, 0}:
            rows = wrapper.batch[start : start + count]
            if count:
                expected = wrapper.by_hand(rows, torch.full((count,), slot))
                torch.testing.assert_close(project(rows), expected)
            else:
                assert project(rows).shape == (0, VOCABULARY)
        start += length


@steps
def test_rows_of_several_prompts_at_once(requests: list[tuple[int, int]]) -> None:
    """The second runner projects all tokens of a step, 1,024 at a time."""
    wrapper = Wrapper(requests)
    project = locating(wrapper.compute_logits, wrapper.batch)
    for start in range(0, len(wrapper.batch), 4):
        rows = wrapper.batch[: len(wrapper.batch)][start : start + 4]
        slots = wrapper.token_lora_indices[start : start + 4]
        torch.testing.assert_close(project(rows), wrapper.by_hand(rows, slots))


def test_adapters_without_an_lm_head_add_nothing() -> None:
    wrapper = Wrapper(STEPS["mixed"], heads=False)
    assert not locating(wrapper.compute_logits, wrapper.batch)(wrapper.batch[3:7]).any()


def test_rows_of_nobody_are_left_alone_and_told(caplog: pytest.LogCaptureFixture) -> None:
    wrapper = Wrapper(STEPS["decode"])
    assert not wrapper.compute_logits(torch.randn(2, SIZE)).any()
    assert "2 rows of logits belong to no known request" in caplog.text


def test_rows_from_elsewhere_are_an_error_and_leave_no_trace() -> None:
    wrapper = Wrapper(STEPS["decode"])
    with pytest.raises(RuntimeError, match="none of the step's hidden states"):
        locating(wrapper.compute_logits, wrapper.batch)(torch.randn(2, SIZE))
    assert wrapper.compute_logits(wrapper.batch).any()


@dataclass
class Request:
    """`done` of a prompt's tokens were computed in former steps."""

    prompt: int
    num_computed_tokens: int = 0
    scores: torch.Tensor | None = None


class Runner:
    """vLLM's first runner, as far as it scores prompts: what it keeps, and when a prompt is complete."""

    def __init__(self, wrapper: Wrapper, requests: dict[str, Request], starts: dict[str, int]) -> None:
        self.model: Any = wrapper
        self.requests = requests
        self.starts = starts
        self.num_prompt_logprobs = dict.fromkeys(requests, 1)
        self.rows: list[int] = []

    def _get_prompt_logprobs_dict(
        self, hidden_states: torch.Tensor, num_scheduled_tokens: dict[str, int]
    ) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for name in self.num_prompt_logprobs:
            tokens = num_scheduled_tokens.get(name)
            if tokens is None:
                continue
            request = self.requests[name]
            if request.scores is None:
                request.scores = torch.full((request.prompt - 1, VOCABULARY), float("nan"))
            start = request.num_computed_tokens
            rest = request.prompt - start - 1
            rows = min(tokens, rest)
            if tokens > rest:
                found[name] = request.scores
            if rows > 0:
                offset = self.starts[name]
                self.rows.append(rows)
                logits = self.model.compute_logits(hidden_states[offset : offset + rows])
                request.scores[start : start + rows] = logits
        for name in found:
            del self.num_prompt_logprobs[name]
        return found


class Worker:
    """Its second runner's: the function is given."""

    def compute_prompt_logprobs(self, logits_fn: Any, hidden_states: torch.Tensor, place: slice) -> Any:
        return logits_fn(hidden_states[place])

    compute_prompt_token_id_logprobs = compute_prompt_logprobs


def loaded() -> dict[str, types.ModuleType]:
    """Both runners, each with classes of its own."""
    modules = {one.module: types.ModuleType(one.module) for one in SCORERS}
    runner, worker = modules.values()
    runner.GPUModelRunner = type("GPUModelRunner", (), dict(vars(Runner)))  # type: ignore[attr-defined]
    worker.PromptLogprobsWorker = type("Worker", (), dict(vars(Worker)))  # type: ignore[attr-defined]
    return modules


def test_first_runner_scores_each_prompt_by_its_own_slot_in_pieces() -> None:
    modules = loaded()
    for _ in range(2):  # the second time does nothing
        follow_scorers(modules)
    long, tail = 2 * MOST_ROWS + 5, 3
    wrapper = Wrapper([(0, 1), (1, long), (-1, 4), (2, tail), (0, MOST_ROWS), (1, MOST_ROWS + 9)])
    starts = {"long": 1, "base": 1 + long, "tail": 5 + long, "chunk": 8 + long, "again": 8 + long + MOST_ROWS}
    requests = {
        "long": Request(long),
        "base": Request(4),
        "tail": Request(tail + 7, num_computed_tokens=7),
        "chunk": Request(MOST_ROWS + 50),  # more of it comes in the next step
        "again": Request(20),  # preempted: what follows its prompt was generated before
        "elsewhere": Request(9),
    }
    made = vars(modules[SCORERS[0].module])["GPUModelRunner"](wrapper, requests, starts)
    scheduled = {
        "running": 1,
        "long": long,
        "base": 4,
        "tail": tail,
        "chunk": MOST_ROWS,
        "again": MOST_ROWS + 9,
    }
    found = made._get_prompt_logprobs_dict(wrapper.batch[:], scheduled)
    assert set(found) == {"long", "base", "tail", "again"}
    assert set(made.num_prompt_logprobs) == {"chunk", "elsewhere"}
    assert max(made.rows) == MOST_ROWS
    for name, first in (("long", 0), ("base", 0), ("tail", 7), ("chunk", 0), ("again", 0)):
        request, start = requests[name], starts[name]
        assert request.num_computed_tokens == first
        rows = min(request.prompt - 1 - first, scheduled[name])
        place = slice(start, start + rows)
        expected = wrapper.by_hand(wrapper.batch[place], wrapper.token_lora_indices[place])
        assert request.scores is not None
        torch.testing.assert_close(request.scores[first : first + rows], expected)
    assert requests["chunk"].scores is not None
    assert requests["chunk"].scores[MOST_ROWS:].isnan().all()
    assert "compute_logits" not in vars(wrapper)  # the model is as it was


def test_first_runner_costs_nothing_where_no_prompt_is_scored() -> None:
    modules = loaded()
    follow_scorers(modules)
    made = vars(modules[SCORERS[0].module])["GPUModelRunner"](Wrapper(STEPS["decode"]), {}, {})
    assert made._get_prompt_logprobs_dict(torch.zeros(4, SIZE), {"running": 1}) == {}


def test_second_runners_functions_are_followed() -> None:
    modules = loaded()
    follow_scorers(modules)
    wrapper, place = Wrapper(STEPS["mixed"]), slice(3, 8)
    expected = wrapper.by_hand(wrapper.batch[place], wrapper.token_lora_indices[place])
    worker = vars(modules[SCORERS[-1].module])["PromptLogprobsWorker"]()
    for method in (worker.compute_prompt_logprobs, worker.compute_prompt_token_id_logprobs):
        torch.testing.assert_close(method(wrapper.compute_logits, wrapper.batch, place), expected)


def test_the_runner_that_is_loaded_is_enough() -> None:
    modules = loaded()
    del modules[SCORERS[-1].module]
    follow_scorers(modules)


def test_a_runner_without_a_known_method_is_named() -> None:
    modules = loaded()
    del vars(modules[SCORERS[0].module])["GPUModelRunner"]._get_prompt_logprobs_dict
    with pytest.raises(RuntimeError, match=r"no GPUModelRunner\._get_prompt_logprobs_dict"):
        follow_scorers(modules)


def test_a_runner_whose_method_takes_something_else_is_named() -> None:
    modules = loaded()
    vars(modules[SCORERS[0].module])["GPUModelRunner"]._get_prompt_logprobs_dict = lambda self, rows: None
    with pytest.raises(RuntimeError, match=r"_get_prompt_logprobs_dict takes self, rows"):
        follow_scorers(modules)
