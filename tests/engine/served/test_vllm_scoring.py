"""vLLM's own wrapper and runner, mended, against sums done by hand; no engine is started for it."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from launch.engine.vllm_plugin.lora_kernels import KERNELS
from launch.engine.vllm_plugin.plugin import KERNEL_MODULES, mended_wrapper
from launch.engine.vllm_plugin.prompt_rows import MOST_ROWS, SCORERS
from launch.engine.vllm_plugin.self_check import deviation, logits_deviation

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # torch's own
SIZE, RANK, VOCABULARY, SLOTS = 6, 2, 11, 3
LONG = 2 * MOST_ROWS + 7
REQUESTS = [("decodes", -1, 1), ("short", 0, 3), ("long", 2, LONG), ("base", -1, 5), ("one", 1, 1)]
"""Name, slot, tokens of this step; each request's prompt is as long as that."""


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch) -> Any:
    """vLLM's wrapper on our kernels, with the step's metadata; vLLM itself is left as it was."""
    modules = [importlib.import_module(name) for name in KERNEL_MODULES]
    for module in modules:
        for kernel in KERNELS:
            monkeypatch.setattr(module, kernel.__name__, kernel)
    mended = mended_wrapper(modules[-1].PunicaWrapperCPU)
    assert deviation(mended) == logits_deviation(mended) == ""
    made = mended(4096, 64, "cpu")
    ids = [slot + 1 for _, slot, _ in REQUESTS]
    tokens = tuple(one for one, (_, _, length) in zip(ids, REQUESTS, strict=True) for _ in range(length))
    mapping = SimpleNamespace(index_mapping=tokens, prompt_mapping=tuple(ids), is_prefill=True)
    made.update_metadata(mapping, [1, 2, 3], SLOTS, VOCABULARY)
    return made


def test_runner_scores_each_prompt_by_its_own_lm_head(wrapper: Any) -> None:
    runner_module = importlib.import_module(SCORERS[0].module)
    sampler_module = importlib.import_module("vllm.v1.sample.sampler")
    source = torch.Generator().manual_seed(1)
    a = torch.randn(SLOTS, 1, RANK, SIZE, generator=source)
    b = torch.randn(SLOTS, 1, VOCABULARY, RANK, generator=source)
    head = torch.randn(VOCABULARY, SIZE, generator=source)
    lengths = [length for _, _, length in REQUESTS]
    batch = torch.randn(sum(lengths), SIZE, generator=source)
    starts = torch.tensor([0, *lengths]).cumsum(0).tolist()

    def compute_logits(rows: torch.Tensor) -> torch.Tensor:
        logits = rows @ head.t()
        wrapper.add_lora_logits(logits, rows, a, b, 1.0)
        return logits

    prompts = {
        name: torch.randint(VOCABULARY, (length,), generator=source).tolist() for name, _, length in REQUESTS
    }
    requests = {
        name: SimpleNamespace(
            prompt_token_ids=prompts[name], num_computed_tokens=0, in_progress_prompt_logprobs_cpu=None
        )
        for name in prompts
    }
    runner = SimpleNamespace(
        model=SimpleNamespace(compute_logits=compute_logits),
        num_prompt_logprobs=dict.fromkeys([name for name in prompts if name != "decodes"], 1),
        requests=requests,
        device=torch.device("cpu"),
        input_batch=SimpleNamespace(req_id_to_index={name: n for n, name in enumerate(prompts)}),
        query_start_loc=SimpleNamespace(np=torch.tensor(starts).numpy()),
        model_config=SimpleNamespace(logprobs_mode="raw_logprobs"),
        sampler=sampler_module.Sampler(),
        _sync_device=lambda: None,
    )
    method = getattr(runner_module.GPUModelRunner, SCORERS[0].method)
    followed = SCORERS[0].followed(getattr(method, "__wrapped__", method))
    found = followed(runner, batch, dict(zip(prompts, lengths, strict=True)))
    assert set(found) == {"short", "long", "base", "one"}
    assert not runner.num_prompt_logprobs
    for (name, slot, length), start in zip(REQUESTS[1:], starts[1:], strict=False):
        logits = batch[start : start + length - 1] @ head.t()
        if slot >= 0:
            logits += batch[start : start + length - 1] @ a[slot, 0].t() @ b[slot, 0].t()
        expected = logits.log_softmax(-1)[range(length - 1), prompts[name][1:]]
        torch.testing.assert_close(found[name].logprobs[:, 0], expected)
        assert found[name].logprob_token_ids[:, 0].tolist() == prompts[name][1:]
