"""A mixture's experts trained as one parameter (peft's `target_parameters`), as vLLM takes them.

peft writes r x experts rows: `experts.base_layer` for gate and up together, `experts` for down (vLLM 0.32,
vllm/lora/lora_model.py and model_manager.py, _stack_moe_lora_weights).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from launch.base.lora_shapes import Base, Misfit, compare, sides_text
from launch.base.lora_tensors import LoraTensor
from launch.machine.files import Unfit

DOWN, GATE_UP = ".experts", ".experts.base_layer"


def is_fused(module: str) -> bool:
    return module.endswith((DOWN, GATE_UP))


def parameter_of(module: str) -> str:
    """What rank_pattern and alpha_pattern mean: the parameter (vLLM's PEFTHelper.get_rank_and_scaling)."""
    if module.endswith(GATE_UP):
        return f"{module.removesuffix('.base_layer')}.gate_up_proj"
    return f"{module}.down_proj" if module.endswith(DOWN) else module


def check_fused(tensors: Iterable[LoraTensor], ranks: Mapping[str, int], base: Base) -> None:
    """Raises Unfit where the engine would refuse them, or take them for something else."""
    fused = [tensor for tensor in tensors if is_fused(tensor.module)]
    if not fused:
        return
    if base.served is not None and not base.served.fused_experts:
        raise Unfit(
            f"trains a mixture's experts as one parameter (target_parameters), which the engine's class "
            f"{base.served.name} takes one by one; train them with target_modules, or leave them out"
        )
    modules = {tensor.module for tensor in fused}
    for module in modules:
        other = module.removesuffix(".base_layer") if module.endswith(GATE_UP) else f"{module}.base_layer"
        if other not in modules:
            raise Unfit(
                f"has {module} but not {other}: the engine takes gate_up_proj and down_proj of the experts "
                "together; train both, or neither"
            )
    for tensor in fused:
        misfit = _misfit(tensor, ranks[tensor.module], base)
        if misfit is not None:
            raise Unfit(f"{misfit}; train it on this base, or save it again")


def _misfit(tensor: LoraTensor, rank: int, base: Base) -> Misfit | None:
    found = sides_text(tensor.shape)
    if len(tensor.shape) != 2:
        return Misfit(tensor.name, found, "a matrix")
    own = tensor.shape[0] if tensor.side == "A" else tensor.shape[1]
    if base.experts is None:
        fits = own % rank == 0
        rows, wanted = own, f"rank {rank} times the number of experts"
    else:
        rows = rank * base.experts
        fits, wanted = own == rows, f"rank {rank} times {base.experts} experts, {rows}"
    if not fits:
        return Misfit(tensor.name, found, wanted)
    gate_up = tensor.module.endswith(GATE_UP)  # both stand in one matrix, side by side
    twice = None if base.expert_inner is None else 2 * base.expert_inner
    return compare(tensor, rows, (base.hidden, twice) if gate_up else (base.expert_inner, base.hidden))
