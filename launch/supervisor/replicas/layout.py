"""The engines of a launch, each with its place on this machine, as they are before any is started. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gateway.config.document import Config
from gateway.config.snapshot import EngineStatus
from gateway.errors import ConfigError
from launch.engine.argv import EngineCommand
from launch.engine.managed import Means
from launch.engine.vllm_plugin.message_wait import SHARED_CORES

CARDS = "CUDA_VISIBLE_DEVICES"
BINDING = "VLLM_CPU_OMP_THREADS_BIND"
RESERVED = "VLLM_CPU_NUM_OF_RESERVED_CPU"
THREADS = "OMP_NUM_THREADS"
WAITING = "OMP_WAIT_POLICY"
FEW_CORES = 4
"""With no more an engine computes on all; vLLM leaves one to its scheduler, which waits in a loop."""


def name_of(index: int) -> str:
    """Of the engine with that number, from 0."""
    return f"engine-{index}"


def status_of(config: Config, index: int, url: str, command: EngineCommand) -> EngineStatus:
    """An engine of ours as it is before its start."""
    return EngineStatus(
        name=name_of(index),
        url=url,
        lazy=config.base.start == "lazy"
        or config.base.idle_unload != "never"
        or config.backend.bounds is not None,
        slots=command.slots,
        priorities=command.priorities,
        tools=command.tools,
        reasoning=command.reasoning,
        prompt_logprobs=command.prompt_logprobs,
    )


def laid_here(
    config: Config,
    commands: Sequence[EngineCommand],
    laid_over: Sequence[Mapping[str, str]],
    sleeps: bool,
    key: str,
) -> list[tuple[EngineStatus, Means]]:
    """The engines of this machine, each by its command with what is laid over its environment."""
    host = f"[{config.engine.host}]" if ":" in config.engine.host else config.engine.host
    laid: list[tuple[EngineStatus, Means]] = []
    for index, (command, env) in enumerate(zip(commands, laid_over, strict=True)):
        means = Means.with_key(replace(command, env={**command.env, **env}), sleeps, key)
        status = status_of(config, index, f"http://{host}:{command.port}", command)
        laid.append((status, replace(means, label=status.name) if len(commands) > 1 else means))
    return laid


def attached_to(config: Config) -> Iterator[EngineStatus]:
    """The servers that somebody else runs."""
    slots = config.base.max_loras
    for index, one in enumerate(config.attached):
        yield EngineStatus(
            name=one.name or name_of(index),
            url=one.url,
            managed=False,
            slots=one.slots or (None if slots == "auto" else slots),
            prompt_logprobs=one.prompt_logprobs,
        )


def places(
    config: Config,
    cards: Sequence[str] | None,
    cores: Sequence[int],
    env: Mapping[str, str],
    quota: float | None = None,
) -> list[dict[str, str]]:
    """What is laid over each engine's environment, so that no two share what only one can have.

    `cards`: those that may be used here, None for a machine without any; `cores`: the processor's, each once
    if it has several threads; `quota`: of how many of them this launch may take the time, where that is
    bounded. For one engine nothing is said but on few cores, of which it computes on all, and where the quota
    has less. Which cards or cores is left unsaid where `engine.env` says it, or for cores `env`, the launch's
    own; that cores are shared is said all the same. Raises ConfigError where there are fewer cards than the
    engines take.
    """
    count, processes = config.backend.most, config.base.tensor_parallel_size
    given = {**env, **config.engine.env}  # an engine inherits the environment of its launch
    if cards is not None:
        if count == 1 or CARDS in config.engine.env:
            return [{}] * count
        return _shared_cards(config, cards, count)
    if quota is not None and int(quota) < len(cores) and BINDING not in given:
        return [threads_within(max(1, int(quota) // count), processes, given, alone=count == 1)] * count
    if count == 1:
        few = 0 < len(cores) <= FEW_CORES and processes == 1
        unsaid = given.keys().isdisjoint((BINDING, RESERVED))
        return [threads_within(len(cores), 1, given, alone=True) if few and unsaid else {}]
    shared = {SHARED_CORES: "1"}
    if BINDING in given or len(cores) < count or processes > 1:
        return [shared] * count
    share = len(cores) // count
    return [
        {BINDING: ",".join(map(str, cores[share * index : share * (index + 1)])), **shared}
        for index in range(count)
    ]


def threads_within(cores: int, processes: int, given: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """The environment of an engine that may take the time of so many cores.

    vLLM would begin a thread for each that it sees, bind it, and have threads wait for each other in loops:
    where there is not the time for all of them, or another program wants one of the cores, it is spent on
    waiting. So they are not bound, and of few cores, which are never the engine's alone, they sleep while
    they wait. `processes` compute, each with its part; `alone`: it shares `cores` with no other engine.
    """
    waits = alone and cores > FEW_CORES  # its scheduler, in a loop, as vLLM has it
    laid = {BINDING: "nobind"} if waits else {BINDING: "nobind", WAITING: "passive", SHARED_CORES: "1"}
    laid[THREADS] = str(max(1, (cores - waits) // processes))
    return {name: value for name, value in laid.items() if name not in given}


def _shared_cards(config: Config, cards: Sequence[str], count: int) -> list[dict[str, str]]:
    each = config.base.tensor_parallel_size
    if len(cards) < count * each:
        per_engine = f"{each} cards each" if each > 1 else "a card each"
        mend = f"of {per_engine} need {count * each}, and there are {len(cards)}; have fewer"
        raise ConfigError("engines.replicas", count, mend)
    return [{CARDS: ",".join(cards[each * index : each * (index + 1)])} for index in range(count)]
