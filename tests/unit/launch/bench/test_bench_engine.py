"""The engine's and the pipeline's benchmarks, apart from any engine: plans, configurations, sums."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gateway.config.document import Config, load_config
from gateway.errors import ConfigError, EngineFailure
from gateway.pipeline.compile import compile_pipelines
from gateway.pipeline.stages.stage_calls import call_body
from launch.adapters.check import check_adapter
from launch.base.lora_shapes import Base, describe_base
from launch.bench.engine import load_client
from launch.bench.engine.config import (
    document_of,
    environment_of,
    extra_tasks,
    load_given,
    placeholders,
    under_test,
    write_config,
)
from launch.bench.engine.dummy_adapters import (
    AdapterShape,
    shape_like,
    tensor_shapes,
    weight_bytes,
    write_dummy_adapter,
)
from launch.bench.engine.engine import adapter_shape
from launch.bench.engine.load import Load, Target, check_whole, client_arguments
from launch.bench.engine.rounds import (
    Comparison,
    Run,
    arms_of,
    by_arm,
    comparisons,
    figures_of,
    in_order,
    ratios,
)
from launch.bench.pipeline.by_hand import Timing, filled, stage_body
from launch.bench.pipeline.inputs import held_to, request_text, terms_for, two_stages
from launch.bench.pipeline.report import Run as PipelineRun
from launch.bench.pipeline.report import figures_of as pipeline_figures
from launch.bench.pipeline.report import rounds_of, summary
from launch.engine.argv import engine_command
from launch.machine.memory import read_rollup
from launch.training.evaluate import read_held_out

ROOT = Path(__file__).parents[4]
DEMO = ROOT / "configs/demo/config.yaml"
LARGE = ROOT / "configs/qwen2.5-14b.yaml"
LOAD = Load(requests=16, concurrency=8, input_tokens=64, output_tokens=48)
ADAPTERS = {"naming": "naming@1", "concept": "concept@2", "bench-1": "bench-1@3", "bench-2": "bench-2@4"}


def small_base(name: str = "small") -> Base:
    layout = {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return describe_base("/models/small", name, layout)


def qwen_base() -> Base:
    """Qwen2.5-14B-Instruct's layout, as its config.json on the hub gives it."""
    layout = {
        "model_type": "qwen2",
        "num_hidden_layers": 48,
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
    }
    return describe_base("Qwen/Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-14B-Instruct", layout)


def demo_config() -> Config:
    return load_config(DEMO, {})


# -- adapters ----------------------------------------------------------------------------------------


def test_a_made_adapter_passes_the_launchers_own_check(tmp_path: Path) -> None:
    base, shape = small_base(), AdapterShape(4, ("q_proj", "down_proj"))
    write_dummy_adapter(tmp_path / "one", base, shape, seed=1)
    checked = check_adapter("one", tmp_path / "one", base)
    assert checked.rank == 4
    assert not checked.warnings
    assert checked.size_bytes > weight_bytes(tensor_shapes(base, shape))


def test_a_seed_decides_the_weights(tmp_path: Path) -> None:
    base, shape = small_base(), AdapterShape(4, ())
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dummy_adapter(tmp_path / name, base, shape, seed)
    ids = {name: check_adapter("one", tmp_path / name, base).id for name in "abc"}
    assert ids["a"] == ids["b"] != ids["c"]


def test_shapes_and_bytes_of_a_small_base() -> None:
    shapes = tensor_shapes(small_base(), AdapterShape(4, ("k_proj", "up_proj")))
    assert shapes["base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"] == (4, 4)
    assert shapes["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] == (4, 8)
    assert len(shapes) == 8
    assert weight_bytes(shapes) == 2 * 2 * (4 * 8 + 4 * 4 + 4 * 8 + 12 * 4)


def test_a_base_whose_layout_is_not_known_gets_no_adapter() -> None:
    with pytest.raises(ConfigError, match="layout is not known"):
        tensor_shapes(
            describe_base("m", "m", {"model_type": "mamba", "num_hidden_layers": 2}), AdapterShape(4, ())
        )


def test_made_adapters_are_shaped_as_the_trained_one() -> None:
    config, base = demo_config(), small_base()
    trained = shape_like(config.tasks["naming"].adapter)
    assert trained.rank == 16
    assert adapter_shape(config, base, None, dummy=False) == trained
    assert adapter_shape(config, base, 8, dummy=False) == AdapterShape(8, trained.modules)
    assert adapter_shape(config, base, None, dummy=True) == AdapterShape(16, tuple(base.sides))


# -- configuration -----------------------------------------------------------------------------------


def test_the_configuration_under_test_reads_back_as_it_was_meant(tmp_path: Path) -> None:
    given = demo_config()
    adapters = {name: tmp_path / name for name in ("concept", "naming", "bench-1")}
    held = held_to(two_stages(given, "concept-naming"), given, 3)
    meant = under_test(
        given, adapters, state_dir=tmp_path, gateway_port=8190, pipelines={held.name: held.pipeline}
    )
    write_config(meant, tmp_path / "config.yaml", "a key")
    read = load_config(tmp_path / "config.yaml", {})
    assert read.model_copy(update={"keys": None}) == meant.model_copy(update={"keys": None})
    assert [read.engine.port, read.gateway.port] == [8140, 8190]
    assert read.tasks["naming"].system == "Name the concept."


def test_the_key_is_written_as_a_digest_only() -> None:
    assert "a key" not in json.dumps(document_of(demo_config(), "a key"))


def test_no_adapter_of_the_shell_wins_over_the_benchmarks_own(tmp_path: Path) -> None:
    meant = under_test(
        demo_config(),
        {"naming": tmp_path / "made", "bench-1": tmp_path / "b"},
        state_dir=tmp_path,
        gateway_port=1,
    )
    env = environment_of(meant, {"NAMING_ADAPTER_PATH": "/other", "ODD_ADAPTER_PATH": "/odd", "HOME": "/h"})
    assert env == {
        "HOME": "/h",
        "NAMING_ADAPTER_PATH": str(tmp_path / "made"),
        "BENCH_1_ADAPTER_PATH": str(tmp_path / "b"),
    }


def test_with_dummy_weights_an_adapter_that_is_not_set_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONCEPT", "NAMING", "RELATIONSHIP", "ATTRIBUTE"):
        monkeypatch.delenv(f"{name}_ADAPTER_PATH", raising=False)
    with pytest.raises(ConfigError, match="_ADAPTER_PATH"):
        load_given(LARGE, dummy=False, placeholder=tmp_path)
    config = load_given(LARGE, dummy=True, placeholder=tmp_path)
    assert list(config.tasks) == ["concept", "naming", "relationship", "attribute"]
    assert extra_tasks(config, 4) == []
    assert extra_tasks(demo_config(), 4) == ["bench-1", "bench-2"]


def test_only_adapters_get_a_placeholder() -> None:
    text = "a: ${X_ADAPTER_PATH}\nb: ${Y_ADAPTER_PATH:-here}\nc: ${OTHER}"
    assert placeholders(text, Path("/p")) == {"X_ADAPTER_PATH": "/p"}


def test_the_plan_for_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of `bench engine --config configs/qwen2.5-14b.yaml --dummy-weights` on a GPU."""
    monkeypatch.chdir(tmp_path)
    given = load_given(LARGE, dummy=True, placeholder=tmp_path)
    base, adapters = qwen_base(), []
    shape = adapter_shape(given, base, 1, dummy=True)
    one_layer = Base(base.model, base.name, 1, base.sides)  # all 48 would be hundreds of megabytes
    for seed, task in enumerate(given.tasks):
        write_dummy_adapter(tmp_path / task, one_layer, shape, seed)
        adapters.append(check_adapter(task, tmp_path / task, base))
    config = under_test(
        given,
        {one.task: one.path for one in adapters},
        state_dir=tmp_path,
        gateway_port=8190,
        load_format="dummy",
    )
    argv = engine_command(config, base, adapters, 8140, has_gpu=True).argv
    line = " ".join(argv)
    assert "--model Qwen/Qwen2.5-14B-Instruct" in line
    assert "--load-format dummy" in line
    assert "--max-loras 4" in line
    assert "--gpu-memory-utilization 0.75" in line
    assert len({one.id for one in adapters}) == 4


def test_a_14b_adapter_of_rank_16_takes_138_mb() -> None:
    assert weight_bytes(tensor_shapes(qwen_base(), AdapterShape(16, ()))) == 137_625_600


# -- loads and rounds --------------------------------------------------------------------------------


def test_both_ways_are_asked_the_same() -> None:
    arms = {a.name: a for a in arms_of("http://e", "http://g", "base", ADAPTERS, "naming", LOAD, None)}
    direct, routed = (
        client_arguments(arms[name].target, LOAD, "/tok", seed=3, salt=name) for name in ("direct", "gateway")
    )
    differing = {(a, b) for a, b in zip(direct, routed, strict=True) if a != b}
    assert {("http://e", "http://g"), ("naming@1", "naming")} <= differing
    assert len(differing) == 3  # the address, the model and the salt


def test_a_mix_goes_to_its_adapters_in_turn() -> None:
    arguments = client_arguments(Target("http://e", ("a", "b")), LOAD, "/tok", seed=1, salt="s")
    at = arguments.index("--lora-modules")
    assert arguments[at : at + 5] == ["--lora-modules", "a", "b", "--lora-assignment", "round-robin"]
    assert "--lora-modules" not in client_arguments(Target("http://e", ("a",)), LOAD, "/t", seed=1, salt="s")


def test_the_mixes_hold_the_first_task_and_a_missing_fourth_leaves_its_mix_out() -> None:
    arms = {a.name: a.target.models for a in arms_of("e", "g", "base", ADAPTERS, "concept", LOAD, LOAD)}
    assert arms["direct"] == ("concept@2",)
    assert arms["two"] == ("concept@2", "naming@1")
    assert len(set(arms["four"])) == 4
    assert arms["base"] == ("base",)
    three = dict(list(ADAPTERS.items())[:3])
    few = arms_of("e", "g", "base", three, "naming", LOAD, None)
    assert [arm.name for arm in few] == ["gateway", "direct", "two", "base"]
    assert {one.above for one in comparisons(few)} == {"gateway", "direct", "two"}


def test_every_other_round_runs_backwards() -> None:
    arms = arms_of("e", "g", "base", ADAPTERS, "naming", LOAD, None)
    assert in_order(arms, 0) == arms
    assert in_order(arms, 1) == arms[::-1]


def test_ratios_are_formed_within_a_round() -> None:
    speeds = [(0, "gateway", 9.0), (0, "direct", 10.0), (1, "direct", 100.0), (1, "gateway", 98.0)]
    runs = [Run(n, 0, arm, {"output_tokens_per_s": speed}) for n, arm, speed in speeds]
    found = ratios(runs, [Comparison("r", "gateway", "direct")])["r"]
    assert (found.lowest, found.highest) == (0.9, 0.98)
    assert by_arm(runs)["direct"]["output_tokens_per_s"].median == 55.0


def test_figures_have_our_names_and_a_missing_one_is_seen() -> None:
    given = dict.fromkeys(
        ("output_throughput", "mean_ttft_ms", "p50_ttft_ms", "p99_ttft_ms", "mean_itl_ms", "p50_itl_ms"), 2
    )
    with pytest.raises(KeyError):
        figures_of(given)
    figures = figures_of({**given, "p99_itl_ms": 3, "mean_e2el_ms": 4, "duration": 5})
    assert (figures["output_tokens_per_s"], figures["inter_token_p99_ms"]) == (2.0, 3.0)


@pytest.mark.parametrize(
    "result",
    [
        {"error": "it fell over"},
        {"completed": 15, "total_output_tokens": 720, "first_error": "Unauthorized"},
        {"completed": 16, "total_output_tokens": 767, "first_error": ""},
    ],
)
def test_a_run_that_is_not_whole_is_an_error(result: dict[str, object]) -> None:
    with pytest.raises(EngineFailure):
        check_whole(result, LOAD)
    check_whole({"completed": 16, "total_output_tokens": 768}, LOAD)


def test_the_client_program_answers_each_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With vLLM's client replaced: its chatter must not get into the answers, nor one failure end it."""
    serve = ModuleType("vllm.benchmarks.serve")

    def add(parser: object) -> None:
        parser.add_argument("--n", type=int)  # type: ignore[attr-defined]  # argparse's

    def main(arguments: object) -> dict[str, object]:
        print("chatter")
        if arguments.n == 0:  # type: ignore[attr-defined]  # argparse's namespace
            raise ValueError("nothing to do")
        return {"duration": 1.5, "ttfts": [1.0], "errors": ["", "late"]}

    serve.__dict__.update(add_cli_args=add, main=main)
    benchmarks = ModuleType("vllm.benchmarks")
    benchmarks.__dict__["serve"] = serve
    for name, module in (("vllm", ModuleType("vllm")), ("vllm.benchmarks", benchmarks)):
        monkeypatch.setitem(sys.modules, name, module)
    lines = [json.dumps(["--n", value]) for value in ("0", "x", "1")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    assert load_client.main() == 0
    failed, refused, done = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert failed == {"error": "ValueError: nothing to do"}
    assert "SystemExit" in refused["error"]
    assert done == {"duration": 1.5, "first_error": "late"}


def test_memory_is_read_in_bytes() -> None:
    text = "5500-7fff ---p 00000000 00:00 0 [rollup]\nRss:     30 kB\nPss:     20 kB\nPss_Dirty:  9 kB\n"
    assert read_rollup(text) == {"Rss": 30 * 1024, "Pss": 20 * 1024}


# -- pipeline ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 8, 16])
def test_what_is_written_by_hand_asks_exactly_what_the_gateway_asks(count: int) -> None:
    """Else the two would not be comparable."""
    given = demo_config()
    held = held_to(two_stages(given, "concept-naming"), given, count)
    terms = terms_for(read_held_out("concept", None), count)
    config = given.model_copy(update={"pipelines": {held.name: held.pipeline}})
    compiled = compile_pipelines(config)[held.name]
    seen: dict[str, object] = {
        "terms": json.loads(request_text(terms)),
        "text": request_text(terms),
        "stages": {},
    }
    element = {"members": [terms[0].term], "definition": "a thing"}
    for stage, mine, item in ((0, held.first, None), (1, held.each, element)):
        theirs = call_body(compiled, compiled.stages[stage], {**seen, "item": item}, {}, None)
        if compiled.stages[stage].system is None:  # the relay adds the task's
            messages = theirs["messages"]
            assert isinstance(messages, list)
            messages.insert(0, {"role": "system", "content": given.tasks[mine.task].system})
        assert json.dumps(stage_body(mine, config, terms, item)) == json.dumps(theirs)


def test_the_pipeline_is_held_to_its_number_with_room_to_write_it() -> None:
    given = demo_config()
    held = held_to(two_stages(given, "concept-naming"), given, 16)
    schema = held.pipeline.stages[0].schema_
    assert schema is not None
    bounds = json.dumps(schema["properties"])
    assert '"minItems": 16, "maxItems": 16' in bounds
    assert held.pipeline.stages[0].defaults["max_tokens"] == 1280
    assert '"minItems": 1, "maxItems": 16' in json.dumps(given.pipelines["concept-naming"].stages[0].schema_)


def test_a_pipeline_of_another_form_or_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="concept-naming"):
        two_stages(demo_config(), "concept-nameing")


def test_inputs_have_two_terms_a_concept_and_too_many_concepts_are_an_error() -> None:
    examples = read_held_out("concept", None)
    terms = terms_for(examples, 16)
    assert len({one.term for one in terms}) == 32
    assert terms[0].gloss
    with pytest.raises(ConfigError, match="groups that fit"):
        terms_for(examples[:2], 16)


def test_a_schema_reference_that_is_not_to_the_terms_is_refused() -> None:
    assert filled({"enum": {"$from": "terms"}, "maxItems": {"$count": "terms"}}, ["a", "b"]) == {
        "enum": ["a", "b"],
        "maxItems": 2,
    }
    with pytest.raises(ConfigError, match="terms only"):
        filled({"enum": {"$from": "input.labels"}}, ["a"])


def test_the_lower_bound_is_of_the_same_round() -> None:
    def took(total_s: float, first_s: float, last_s: float) -> Timing:
        return Timing(total_s, first_s, last_s, elements=3, first_tokens=90, each_tokens=9)

    runs = [
        PipelineRun(number, 3, arm, took(*times))
        for number, factor in ((0, 1.0), (1, 2.0))
        for arm, times in (
            ("gateway", (11.0 * factor, 10.5 * factor, 0.5 * factor)),
            ("sequential", (13.0 * factor, 9.0 * factor, 1.0 * factor)),
            ("fan-out", (12.0 * factor, 9.0 * factor, 2.0 * factor)),
        )
    ]
    figures = pipeline_figures(rounds_of(runs, 3))
    assert figures["gateway / bound"].median == pytest.approx(1.1)
    assert figures["gateway / bound"].highest == pytest.approx(1.1)
    assert figures["bound_s"].median == 15.0
    assert figures["gateway / bound at its length"].median == pytest.approx(1.1)
    found = summary(runs)["3"]
    assert isinstance(found, dict)
    assert found["concepts_that_came"] == [3]
