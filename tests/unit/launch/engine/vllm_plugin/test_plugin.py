"""The plugin that puts our kernels into vLLM, and what it checks before and after."""

from __future__ import annotations

import functools
import importlib.metadata
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch

from launch.engine.vllm_plugin import lora_kernels, prompt_rows, self_check
from launch.engine.vllm_plugin import plugin as engine_plugin
from tests.unit.launch.engine.vllm_plugin.test_lora_kernels import sgmv


class FakeWrapper:
    """vLLM's wrapper, as small as it can be; `kernels` is the module that it takes its kernels from."""

    kernels: Any = None

    def __init__(self, _tokens: int, _batches: int, _device: str) -> None:
        self.slots: list[int] = []
        self.token_lora_indices = self.sampler_indices = torch.empty(0)

    def update_metadata(self, mapping: Any, ids: list[int], _slots: int, _vocabulary: int) -> None:
        self.slots = [ids.index(one) if one else -1 for one in mapping.index_mapping]
        self.token_lora_indices = torch.tensor(self.slots)
        self.sampler_indices = torch.tensor([ids.index(one) if one else -1 for one in mapping.prompt_mapping])

    def add_shrink(self, y: torch.Tensor, x: torch.Tensor, a: Any, scale: float) -> None:
        self.kernels.sgmv_shrink(x, a[0], y[0], *sgmv(self.slots), scale)

    def add_expand(self, y: torch.Tensor, x: torch.Tensor, b: Any, sizes: tuple[int, ...]) -> None:
        self.kernels.sgmv_expand_slice(x[0], b[0], y, *sgmv(self.slots), 0, sizes[0], True)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Any,
        lora_b_stacked: Any,
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: Any = None,
        **kwargs: Any,
    ) -> None:
        shrunk = torch.zeros(1, len(x), lora_a_stacked[0].shape[2])
        self.add_shrink(shrunk, x, lora_a_stacked, scale)
        self.add_expand(y, shrunk, lora_b_stacked, output_slices)

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        self.kernels.sgmv_expand(x, lora_b_stacked, y, *sgmv(self.slots), add_inputs)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """As vLLM 0.32 does it: whatever the rows are, they have the indices of what is sampled."""
        buffer = torch.zeros(len(x), lora_b_stacked.shape[-1])
        self.kernels.bgmv_shrink(x, lora_a_stacked, buffer, self.sampler_indices, scale)
        self.kernels.bgmv_expand(buffer, lora_b_stacked, y, self.sampler_indices, True)


def with_last_slot(kernel: Callable[..., None]) -> Callable[..., None]:
    """As vLLM 0.32 does it: -1 is the last slot."""

    @functools.wraps(kernel)
    def wrong(inputs: torch.Tensor, weight: torch.Tensor, *others: Any) -> None:
        kernel(inputs, weight, *(last_of(one, len(weight)) for one in others))

    return wrong


def last_of(argument: Any, slots: int) -> Any:
    is_indices = isinstance(argument, torch.Tensor) and argument.dtype == torch.long
    return torch.where(argument < 0, slots - 1, argument) if is_indices else argument


def old_vllm(*, without: str = "", stubborn: bool = False) -> list[types.ModuleType]:
    """A module of kernels and one of the wrapper; `stubborn`: it keeps to kernels of its own."""
    own = types.ModuleType("own")
    for module in (own, kernels := types.ModuleType("kernels"), punica := types.ModuleType("punica")):
        for one in lora_kernels.KERNELS:
            setattr(module, one.__name__, with_last_slot(one))
    wrapper = type("Wrapper", (FakeWrapper,), {"kernels": own if stubborn else punica})
    setattr(punica, engine_plugin.WRAPPER, wrapper)
    if without:
        delattr(punica, without)
    return [kernels, punica]


def test_check_finds_that_the_base_is_answered_from_the_last_slot() -> None:
    modules = old_vllm()
    assert "row 1 (base)" in self_check.deviation(getattr(modules[-1], engine_plugin.WRAPPER))


def test_check_finds_that_a_prompts_rows_have_the_slots_of_what_is_sampled() -> None:
    """vLLM's own way, on kernels that leave the base's rows alone."""
    wrapper = type("Wrapper", (FakeWrapper,), {"kernels": lora_kernels})
    assert self_check.deviation(wrapper) == ""
    assert "of 5 of a prompt" in self_check.logits_deviation(wrapper)
    assert self_check.logits_deviation(engine_plugin.mended_wrapper(wrapper)) == ""


def test_mended_vllm_passes_the_check_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_rows, "follow_scorers", lambda loaded: None)
    modules = old_vllm()
    for _ in range(2):
        engine_plugin.mend(modules)
    wrapper = getattr(modules[-1], engine_plugin.WRAPPER)
    assert self_check.deviation(wrapper) == self_check.logits_deviation(wrapper) == ""


def test_an_engine_whose_scoring_of_prompts_is_not_known_does_not_start() -> None:
    """Its runner is loaded when it makes its wrapper; in this process there is none."""
    modules = old_vllm()
    engine_plugin.mend(modules)
    with pytest.raises(RuntimeError, match="scores prompts in none of"):
        getattr(modules[-1], engine_plugin.WRAPPER)(8, 8, "cpu")


@pytest.mark.parametrize("name", ["sgmv_shrink", "bgmv_expand_slice", engine_plugin.WRAPPER])
def test_vllm_without_a_known_name_does_not_start(name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"no {name}.*requirements/cpu\.txt"):
        engine_plugin.mend(old_vllm(without=name))


def test_vllm_whose_kernels_take_something_else_does_not_start() -> None:
    modules = old_vllm()
    modules[0].__dict__["bgmv_shrink"] = lambda inputs, indices: None
    with pytest.raises(RuntimeError, match=r"kernels\.bgmv_shrink takes inputs, indices, not inputs, lora"):
        engine_plugin.mend(modules)


def test_vllm_that_does_not_use_what_was_put_in_does_not_start() -> None:
    with pytest.raises(RuntimeError, match=r"row 1 \(base\)"):
        engine_plugin.mend(old_vllm(stubborn=True))


def test_other_peoples_vllm_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(engine_plugin.VARIABLE, raising=False)
    monkeypatch.setattr(engine_plugin, "mend", pytest.fail)
    engine_plugin.register()


def test_vllm_finds_the_plugin_once_the_project_is_installed() -> None:
    found = importlib.metadata.entry_points(group="vllm.general_plugins", name="lora_gateway")
    assert [one.load() for one in found] == [engine_plugin.register]
