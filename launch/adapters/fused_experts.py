"""A mixture's experts, trained as one parameter or one by one, as vLLM takes them.

As one parameter peft writes r x experts rows: `experts.base_layer` for gate and up together, `experts` for
down (vLLM 0.32, vllm/lora/lora_model.py and model_manager.py, _stack_moe_lora_weights). So it does for
`target_parameters`, and with transformers 5 for `target_modules` too, gate and up with twice the rank then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from launch.base.lora_shapes import Base, Misfit, compare, sides_text
from launch.base.lora_tensors import LoraTensor
from launch.base.safetensors_header import BadHeader, read_header
from launch.base.served_classes import MIXED_EXPERTS, ServedClass
from launch.machine.files import WEIGHTS, Unfit, shorten

DOWN, GATE_UP = ".experts", ".experts.base_layer"


def is_fused(module: str) -> bool:
    return module.endswith((DOWN, GATE_UP))


def parameter_of(module: str) -> str:
    """What rank_pattern and alpha_pattern mean: the parameter (vLLM's PEFTHelper.get_rank_and_scaling)."""
    if module.endswith(GATE_UP):
        return f"{module.removesuffix('.base_layer')}.gate_up_proj"
    return f"{module}.down_proj" if module.endswith(DOWN) else module


def holds_fused(folder: Path) -> bool:
    """Whether the adapter there has experts as one parameter; what cannot be read the engine will tell of."""
    try:
        return any(is_fused(name.rpartition(".lora_")[0]) for name in read_header(folder / WEIGHTS))
    except (BadHeader, OSError):
        return False


def check_experts(tensors: Iterable[LoraTensor], ranks: Mapping[str, int], base: Base) -> None:
    """Raises Unfit where the engine would refuse them, or take them for something else."""
    fused = [tensor for tensor in tensors if is_fused(tensor.module)]
    if base.served is not None:
        single = {one.module for one in tensors if f"{DOWN}." in one.module and not is_fused(one.module)}
        _check_form(bool(fused), single, base.served, base.experts)
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


def _check_form(fused: bool, single: Iterable[str], served: ServedClass, experts: int | None) -> None:
    if fused and not (served.fused_experts or served.both_experts):
        raise Unfit(
            f"trains a mixture's experts as one parameter, which the engine's class {served.name} takes "
            "one by one; train it without its experts"
        )
    places: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module in single:
        owner, _, inner = module.rpartition(f"{DOWN}.")
        number, _, projection = inner.partition(".")
        places[owner][projection].add(number)
    if places and served.fused_experts and not served.both_experts:
        raise Unfit(
            f"trains a mixture's experts one by one, which the engine's class {served.name} takes as one "
            f"parameter; put --{MIXED_EXPERTS} into engine.extra_args, and start again"
        )
    least = 2 if served.name.startswith("NemotronH") else 3  # without a gate
    for owner, found in places.items():
        if len(found) < least or any(len(numbers) != (experts or len(numbers)) for numbers in found.values()):
            raise Unfit(
                f"trains some matrices of {shorten(owner)}{DOWN}, and the engine takes those of all experts "
                "together or none; train them all, or none"
            )


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
