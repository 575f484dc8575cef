"""What the engine is doing and why it died, from its log."""

from __future__ import annotations

import pytest

from launch.engine.log.engine_log import STAGES, advice_for, reason_of, stage_of

# Word for word from vLLM 0.32.
FREE = (
    "(EngineCore pid=1) ERROR 11-24 01:12:05 [core.py:1] ValueError: "
    "Free memory on device cuda:0 (30.89/47.53 GiB) "
    "on startup is less than desired GPU memory utilization (0.75, 35.65 GiB). "
    "Decrease GPU memory utilization "
    "or reduce GPU memory used by other processes."
)
LONG = (
    "User-specified max_model_len (99999) is greater than the derived max_model_len "
    "(max_position_embeddings=1024.0 or model_max_length=None in model's config.json)"
)
START = [
    "(APIServer pid=1) INFO 11-24 01:11:47 [model.py:733] Resolved architecture: LlamaForCausalLM",
    "(EngineCore pid=2) INFO 11-24 01:12:05 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with",
    "(Worker pid=3) INFO 11-24 01:12:22 [cpu_model_runner.py:68] Starting to load model /base...",
    "(Worker pid=3) INFO 11-24 01:12:23 [default_loader.py:501] Loading weights took 0.89 seconds",
    "(EngineCore pid=2) INFO 11-24 01:12:25 [kv_cache_utils.py:2327] CPU KV cache size: 46,592 tokens",
    "(EngineCore pid=2) INFO 11-24 01:12:29 [core.py:402] init engine (profile, create kv cache) took 3.54 s",
    "(APIServer pid=1) INFO 11-24 01:12:33 [entry.py:140] Starting vLLM server on http://127.0.0.1:8101",
]


def test_stages_follow_the_log_in_order() -> None:
    stage = STAGES[0][1]
    seen = [stage := stage_of(line, stage) for line in START]
    assert seen == [name for _, name in STAGES[1:]]


def test_stage_never_goes_back() -> None:
    assert stage_of(START[0], "warming up") == "warming up"
    assert stage_of(START[0], "proving base") == "reading the configuration"


def test_memory_error_wins_over_its_consequences() -> None:
    later = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    assert reason_of([FREE, f"(APIServer pid=1) {later}"], 1).startswith("ValueError: Free memory on device")


def test_usage_error_is_a_reason() -> None:
    line = "api_server.py: error: argument --dtype: invalid choice: 'x'"
    assert reason_of(["usage: api_server.py [-h]", line], 2) == "argument --dtype: invalid choice: 'x'"


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        ([f"  Value error, {LONG}. To allow [type=value_error, input={{}}]", "    For further"], LONG),
        (["dtype", "  Input should be 'auto' [type=literal_error]"], "dtype: Input should be 'auto'"),
        ([], "ValidationError: 1 validation error for ModelConfig"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "(EngineCore pid=1) ERROR 11-24 01:12:05 [core.py:1] "])
def test_what_pydantic_says_of_a_setting_stands_below_its_heading(
    below: list[str], reason: str, prefix: str
) -> None:
    lines = ["pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig", *below]
    assert reason_of([f"{prefix}{line}" for line in lines], 1) == reason


def test_a_warnings_text_is_no_reason() -> None:
    warning = "(APIServer pid=1) WARNING 11-24 01:11:28 [u.py:2] as `OSError: Too many open files`"
    assert reason_of([warning], -9) == "killed by SIGKILL"


def test_last_line_where_nothing_tells() -> None:
    line = "(APIServer pid=1) INFO 11-24 01:11:47 [model.py:733] Bye"
    assert reason_of([line, ""], 3) == "exit code 3: Bye"
    assert reason_of([], 3) == "exit code 3: it said nothing"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (FREE, "base.gpu_memory_utilization to 0.60 or less"),  # 30.89 / 47.53 = 0.6499
        ("Free memory (30.0 GB) < desired (35.65 GB)", "to 0.60 or less"),
        ("Free memory (5.89 GB) < desired (35.65 GB)", "to 0.10 or less"),
        ("Free memory (1 GB) < desired (35.65 GB)", "nearly full"),
        ("ValueError: No available memory for the cache blocks. Try", "base.max_model_len"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "to 0.70"),
        (LONG, "set base.max_model_len to 1024 or less"),
        ("RuntimeError: something else", ""),
    ],
)
def test_advice_is_concrete(reason: str, expected: str) -> None:
    advice = advice_for(reason, 0.75)
    assert expected in advice
    assert bool(advice) == bool(expected)
