"""Configuration → vLLM's command line."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.document import Config
from launch.adapters.check import Adapter
from launch.base.lora_shapes import Base
from launch.base.parsers.model_parsers import Parsers
from launch.base.served_classes import ServedClass
from launch.engine.argv import FORCED_PARSER, KEY_GUARD, engine_command
from launch.engine.vllm_plugin import plugin as engine_plugin
from launch.engine.vllm_plugin.key_guard import KeyGuard
from launch.machine.hardware import has_slow_bfloat16

LOCAL = Base("/models/base", "Base", 2, {})


HUB = Base("owner/name", "owner/name", 2, {})


CONCEPT = Adapter("concept", "concept@aaaaaaaaaaaa", Path("/adapters/a=1,2"), 8, 100)


NAMING = Adapter("naming", "naming@bbbbbbbbbbbb", Path("/adapters/b"), 20, 100)


def config(**base: object) -> Config:
    return Config.model_validate({"base": {"model": "m", **base}})


def value(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_limits_follow_the_adapters_and_leave_room_for_more() -> None:
    command = engine_command(config(), LOCAL, [CONCEPT, NAMING], 8101, has_gpu=True)
    argv = command.argv
    assert "--enable-lora" in argv
    assert "--lora-modules" not in argv
    assert (value(argv, "--max-loras"), value(argv, "--max-cpu-loras")) == ("4", "8")
    assert value(argv, "--max-lora-rank") == "32"
    assert (command.slots, command.max_lora_rank) == (4, 32)
    assert command.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"


@pytest.mark.parametrize(("stops", "prompts", "logprobs"), [(128, 4096, 20), (200, 9, 50)])
def test_the_engine_takes_what_the_gateway_lets_through(stops: int, prompts: int, logprobs: int) -> None:
    bounds = {"max_stop_strings": stops, "max_sequences": prompts, "max_logprobs": logprobs}
    bounded = Config.model_validate({"base": {"model": "m"}, "gateway": bounds})
    command = engine_command(bounded, LOCAL, [CONCEPT], 8101, has_gpu=True)
    told = [command.env[f"VLLM_MAX_{name}"] for name in ("STOP_STRINGS", "COMPLETION_PROMPTS")]
    assert told == [str(stops), str(prompts)]
    assert ("--max-logprobs" in command.argv) == (logprobs > 20)
    assert logprobs == 20 or value(command.argv, "--max-logprobs") == str(logprobs)


def test_more_adapters_than_the_least_have_a_slot_each() -> None:
    many = [CONCEPT] * 6
    assert engine_command(config(), LOCAL, many, 1, has_gpu=True).slots == 6


def test_class_that_can_takes_experts_in_both_forms() -> None:
    for served, taken in ((ServedClass("X", both_experts=True), True), (ServedClass("X"), False)):
        argv = engine_command(config(), replace(LOCAL, served=served), [], 1, has_gpu=True).argv
        assert ("--enable-mixed-moe-lora-format" in argv) == taken


def test_fewer_slots_than_adapters_still_keep_all_in_memory() -> None:
    few = config(max_loras=1, max_lora_rank=64)
    argv = engine_command(few, LOCAL, [CONCEPT, NAMING], 1, has_gpu=True).argv
    assert (value(argv, "--max-loras"), value(argv, "--max-cpu-loras")) == ("1", "4")
    assert value(argv, "--max-lora-rank") == "64"
    asked = config(max_loras=2, max_cpu_loras=64)
    assert value(engine_command(asked, LOCAL, [NAMING], 1, has_gpu=True).argv, "--max-cpu-loras") == "64"


def test_slots_are_those_of_one_batch_on_a_cpu_too() -> None:
    for asked, slots in (("auto", 4), (1, 1), (2, 2)):
        command = engine_command(config(max_loras=asked), LOCAL, [CONCEPT, NAMING], 1, has_gpu=False)
        assert (value(command.argv, "--max-loras"), command.slots) == (str(slots), slots)


def test_engine_of_ours_is_marked_for_the_plugin_that_mends_its_kernels() -> None:
    assert engine_command(config(), LOCAL, [], 1, has_gpu=False).env[engine_plugin.VARIABLE] == "1"


def test_engine_without_adapters_takes_them_later() -> None:
    command = engine_command(config(), LOCAL, [], 8101, has_gpu=False)
    assert (command.slots, command.max_lora_rank) == (4, 16)


def test_sleep_is_on_only_for_a_card_that_may_idle() -> None:
    for gpu, idle, sleeps in ((True, 900, True), (True, "never", False), (False, 900, False)):
        command = engine_command(config(idle_unload=idle), LOCAL, [], 1, has_gpu=gpu)
        assert ("--enable-sleep-mode" in command.argv) == sleeps
        assert ("VLLM_SERVER_DEV_MODE" in command.env) == sleeps


def test_base_is_served_on_loopback_under_its_public_name() -> None:
    argv = engine_command(config(name="qwen"), LOCAL, [], 8103, has_gpu=False).argv
    assert value(argv, "--model") == "/models/base"
    assert value(argv, "--served-model-name") == "qwen"
    assert (value(argv, "--host"), value(argv, "--port")) == ("127.0.0.1", "8103")


def test_memory_flags_follow_the_machine() -> None:
    on_card = engine_command(config(gpu_memory_utilization=0.75), LOCAL, [], 1, has_gpu=True).argv
    on_cpu = engine_command(config(kv_cache_gib=0.5), LOCAL, [], 1, has_gpu=False).argv
    assert value(on_card, "--gpu-memory-utilization") == "0.75"
    assert "--kv-cache-memory-bytes" not in on_card
    assert "--gpu-memory-utilization" not in on_cpu
    assert value(on_cpu, "--kv-cache-memory-bytes") == str(512 * 1024 * 1024)


def test_a_cpus_cache_has_small_blocks_but_where_attention_is_latent() -> None:
    assert value(engine_command(config(), LOCAL, [], 1, has_gpu=False).argv, "--block-size") == "32"
    assert "--block-size" not in engine_command(config(), LOCAL, [], 1, has_gpu=True).argv
    latent = replace(LOCAL, latent=True)
    assert "--block-size" not in engine_command(config(), latent, [], 1, has_gpu=False).argv


def test_optional_settings_are_passed_only_when_set() -> None:
    plain = engine_command(config(), LOCAL, [], 1, has_gpu=False).argv
    full = config(
        max_model_len=2048, max_num_seqs=8, enforce_eager=True, load_format="dummy", tensor_parallel_size=2
    )
    argv = engine_command(full, LOCAL, [], 1, has_gpu=False).argv
    for flag, given in (
        ("--max-model-len", "2048"),
        ("--max-num-seqs", "8"),
        ("--load-format", "dummy"),
        ("--tensor-parallel-size", "2"),
    ):
        assert flag not in plain
        assert value(argv, flag) == given
    able = engine_command(
        config(tool_call_parser="hermes", reasoning_parser="qwen3"), LOCAL, [], 1, has_gpu=False
    ).argv
    assert value(able, "--tool-call-parser") == "hermes"
    assert value(able, "--reasoning-parser") == "qwen3"
    assert "--enable-auto-tool-choice" in able
    off = engine_command(
        config(tool_call_parser=None, reasoning_parser=None), LOCAL, [], 1, has_gpu=False
    ).argv
    assert not {"--tool-call-parser", "--reasoning-parser", "--enable-auto-tool-choice"} & {*off}
    assert "--enforce-eager" in argv
    assert "--enforce-eager" not in plain


def test_auto_takes_the_parsers_that_fit_the_base_and_else_one_that_reads_forced_calls_alone() -> None:
    fitting = Parsers("hermes", "qwen3")
    found = engine_command(config(), LOCAL, [], 1, has_gpu=False, parsers=fitting)
    assert value(found.argv, "--tool-call-parser") == "hermes"
    assert value(found.argv, "--reasoning-parser") == "qwen3"
    assert (found.tools, found.reasoning) == ("all", True)
    none = engine_command(config(), LOCAL, [], 1, has_gpu=False)
    assert value(none.argv, "--tool-call-parser") == FORCED_PARSER
    assert Path(value(none.argv, "--tool-parser-plugin")).is_file()
    assert "--enable-auto-tool-choice" in none.argv
    assert (none.tools, none.reasoning) == ("forced", False)
    told = engine_command(
        config(tool_call_parser="pythonic", reasoning_parser=None),
        LOCAL,
        [],
        1,
        has_gpu=False,
        parsers=fitting,
    )
    assert value(told.argv, "--tool-call-parser") == "pythonic"
    assert "--reasoning-parser" not in told.argv
    off = engine_command(config(tool_call_parser="none"), LOCAL, [], 1, has_gpu=False, parsers=fitting)
    assert (off.tools, off.reasoning) == ("none", True)


def test_what_extra_args_say_of_parsers_stands_alone() -> None:
    given = ["--enable-auto-tool-choice", "--tool-call-parser", "xlam", "--reasoning-parser=hf"]
    own = Config.model_validate({"base": {"model": "m"}, "engine": {"extra_args": given}})
    fitting = Parsers("hermes", "qwen3")
    command = engine_command(own, LOCAL, [], 1, has_gpu=False, parsers=fitting)
    assert command.argv.count("--tool-call-parser") == 1
    assert not {"hermes", "qwen3", "--tool-parser-plugin"} & {*command.argv}
    assert (command.tools, command.reasoning) == ("all", True)


def test_compact_json_and_no_request_log() -> None:
    argv = engine_command(config(), LOCAL, [], 1, has_gpu=False).argv
    assert json.loads(value(argv, "--structured-outputs-config"))["disable_any_whitespace"] is True
    assert "--enable-log-requests" not in argv


def test_environment_is_offline_only_for_a_local_base() -> None:
    assert engine_command(config(), LOCAL, [], 1, has_gpu=False).env["HF_HUB_OFFLINE"] == "1"
    remote = engine_command(config(), HUB, [], 1, has_gpu=False).env
    assert "HF_HUB_OFFLINE" not in remote
    assert (remote["VLLM_NO_USAGE_STATS"], remote["DO_NOT_TRACK"]) == ("1", "1")


def test_an_engine_of_ours_sends_its_spans_where_the_gateway_does() -> None:
    def traced(**more: object) -> tuple[tuple[str, ...], dict[str, str]]:
        gateway = {"traces": {"endpoint": "http://127.0.0.1:4318/v1/traces", **more}}
        made = Config.model_validate({"base": {"model": "m"}, "gateway": gateway})
        command = engine_command(made, LOCAL, [], 1, has_gpu=False)
        return command.argv, command.env

    argv, env = traced()
    assert value(argv, "--otlp-traces-endpoint") == "http://127.0.0.1:4318/v1/traces"
    assert env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
    argv, env = traced(engines=False)
    plain = engine_command(config(), LOCAL, [], 1, has_gpu=False)
    assert (argv, env) == (plain.argv, plain.env)


def test_own_environment_and_arguments_come_last() -> None:
    own = Config.model_validate(
        {"base": {"model": "m"}, "engine": {"env": {"DO_NOT_TRACK": "0"}, "extra_args": ["--seed", "3"]}}
    )
    command = engine_command(own, LOCAL, [CONCEPT], 1, has_gpu=False)
    assert command.argv[-2:] == ("--seed", "3")
    assert command.env["DO_NOT_TRACK"] == "0"


def test_processor_without_bfloat16_gets_float32() -> None:
    for asked, gpu, slow, expected in (
        ("auto", False, True, "float32"),
        ("auto", False, False, "auto"),
        ("auto", True, True, "auto"),
        ("bfloat16", False, True, "bfloat16"),
    ):
        command = engine_command(config(dtype=asked), LOCAL, [], 1, has_gpu=gpu, slow_bfloat16=slow)
        assert value(command.argv, "--dtype") == command.dtype == expected


def test_processor_is_judged_by_its_flags() -> None:
    assert has_slow_bfloat16("flags\t\t: fpu avx avx2\n")
    assert not has_slow_bfloat16("flags\t\t: fpu avx2 avx512f\n")
    assert not has_slow_bfloat16("Features\t: asimd bf16\n")  # an Arm processor


def test_engine_on_our_kernels_scores_prompts_and_one_on_vllms_where_no_adapter_has_an_lm_head() -> None:
    def scores(*, has_gpu: bool, **engine: object) -> bool:
        made = Config.model_validate({"base": {"model": "m"}, "engine": engine})
        return engine_command(made, LOCAL, [CONCEPT], 1, has_gpu=has_gpu).prompt_logprobs

    assert scores(has_gpu=False)
    assert not scores(has_gpu=False, env={"LORA_GATEWAY_ENGINE": "0"})
    assert not scores(has_gpu=True)
    headless = replace(LOCAL, served=ServedClass("Qwen2ForCausalLM", vocabulary=frozenset()))
    assert engine_command(config(), headless, [CONCEPT], 1, has_gpu=True).prompt_logprobs
    headed = replace(LOCAL, served=ServedClass("LlamaForCausalLM", vocabulary=frozenset({"lm_head"})))
    assert not engine_command(config(), headed, [CONCEPT], 1, has_gpu=True).prompt_logprobs
    assert scores(has_gpu=True, extra_args=["--lora-target-modules", "q_proj", "v_proj", "--seed", "1"])
    assert not scores(has_gpu=True, extra_args=["--lora_target_modules", "q_proj", "lm_head"])


def test_the_engines_key_is_in_its_environment_alone() -> None:
    command = engine_command(config(), LOCAL, [], 1, has_gpu=False, key="engines-own")
    assert command.env["VLLM_API_KEY"] == "engines-own"
    assert "engines-own" not in " ".join(command.argv)
    assert value(command.argv, "--middleware") == KEY_GUARD
    module, _, name = KEY_GUARD.rpartition(".")
    assert getattr(importlib.import_module(module), name) is KeyGuard
    assert "--middleware" not in engine_command(config(), LOCAL, [], 1, has_gpu=False).argv
