"""`lora-gateway train`: what is refused before anything is loaded, what is left, and Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter
from launch.base.lora_shapes import describe_base
from launch.training.batches import hold_out
from launch.training.examples import Example, ExampleFile
from launch.training.trainer import Training, base_of, examples_of, prepare, system_of, train
from tests.fakes.tiny_base import build_tiny_base
from tests.unit.launch.training.conftest import write_data

QUICK = {"steps": 80, "batch": 8, "peak_rate": 0.02, "rank": 4}


def asked(base: Path, data: Path, output: Path, **more: object) -> Training:
    return Training("colour", output, str(base), data, **{**QUICK, **more})  # type: ignore[arg-type]


def test_a_broken_line_is_refused_with_its_number_before_the_base_is_loaded(
    base: Path, tmp_path: Path
) -> None:
    broken = write_data(tmp_path / "broken.jsonl", '{"prompt": "p"}')
    with pytest.raises(ConfigError, match="line 41 has no 'answer'"):
        prepare(asked(base, broken, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_line_that_is_too_long_is_refused_with_its_number(base: Path, tmp_path: Path) -> None:
    line = json.dumps({"prompt": "colour " * 300, "answer": "red"})
    path = write_data(tmp_path / "long.jsonl", line)
    with pytest.raises(ConfigError, match=r"long\.jsonl:41: has 304 tokens; shorten it, or raise --max-tok"):
        prepare(asked(base, path, tmp_path / "out", max_tokens=256))


@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 64])
def test_a_task_that_cannot_be_a_name_is_refused(base: Path, data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--task"):
        prepare(Training(name, tmp_path / "out", str(base), data))


def test_a_task_without_data_is_told_which_have_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--data .*concept, naming, relationship, attribute"):
        examples_of(Training("colour", tmp_path / "out"))


@pytest.mark.parametrize("name", ["./none", "/none", "one", "a/b/c"])
def test_a_base_that_is_neither_folder_nor_hub_id_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        base_of(Training("colour", tmp_path / "out", name))


def test_a_base_without_a_chat_template_is_refused(data: Path, tmp_path: Path) -> None:
    bare = build_tiny_base(tmp_path / "bare", template=False)
    with pytest.raises(ConfigError, match="chat template"):
        prepare(asked(bare, data, tmp_path / "out"))


def test_the_system_prompt_is_the_options_the_datas_or_the_demos() -> None:
    with_own = ExampleFile(Path("d"), [Example("p", "a")], [1], "Own.")
    without = ExampleFile(Path("d"), [Example("p", "a")], [1])
    out = Path("out")
    assert system_of(Training("colour", out), with_own) == "Own."
    assert system_of(Training("colour", out), without) is None
    assert system_of(Training("colour", out, system="Say."), without) == "Say."
    assert system_of(Training("naming", out), without) == "Name the concept."
    with pytest.raises(ConfigError, match="differs from the system message"):
        system_of(Training("colour", out, system="Say."), with_own)


def test_what_is_held_out_depends_on_the_prompt_alone() -> None:
    examples = [Example(f"p{number % 50}", str(number)) for number in range(100)]
    chosen = hold_out(examples, 0.1)
    assert 10 <= len(chosen) <= 12
    prompts = {examples[at].prompt for at in chosen}
    assert prompts.isdisjoint(example.prompt for at, example in enumerate(examples) if at not in chosen)
    turned = examples[::-1]
    assert {turned[at].prompt for at in hold_out(turned, 0.1)} == prompts
    assert hold_out(examples[:19], 0.1) == hold_out(examples, 0) == frozenset()


def test_training_leaves_an_adapter_that_the_intake_takes(base: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = train(asked(base, data, output, system="say"))
    assert result.steps == 80
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < result.loss_before / 2
    shape = describe_base(str(base), "tiny", json.loads((base / "config.json").read_bytes()))
    adapter = check_adapter("colour", output, shape)
    assert (adapter.rank, adapter.warnings) == (4, ())
    settings = json.loads((output / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["base_model_name_or_path"] == "tiny"
    record = json.loads((output / "training.json").read_text(encoding="utf-8"))
    assert (record["task"], record["system"], record["steps"]) == ("colour", "say", 80)


def test_an_adapter_is_replaced_only_where_that_is_asked_for_or_it_goes_on(
    base: Path, data: Path, tmp_path: Path
) -> None:
    link, folder = tmp_path / "colour", tmp_path / "far" / "colour"
    folder.mkdir(parents=True)
    link.symlink_to(folder)
    for name in ("colour.old", "colour.new"):
        (folder.with_name(name)).mkdir()
    train(asked(base, data, link, steps=2))
    first = (folder / "adapter_model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="holds an adapter; --force replaces it, --start"):
        prepare(asked(base, data, link))
    train(asked(base, data, link, steps=1, force=True))
    train(asked(base, data, link, steps=2, start=folder))
    assert (folder / "adapter_model.safetensors").read_bytes() != first
    assert link.is_symlink()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["colour", "colour.new", "colour.old"]


def test_training_is_the_same_for_the_same_seed(base: Path, data: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("one", "two", "three")]
    for output, seed in zip(outputs, (1, 1, 2), strict=True):
        train(asked(base, data, output, steps=5, max_minutes=1000.0, seed=seed))
    weights = [(output / "adapter_model.safetensors").read_bytes() for output in outputs]
    assert weights[0] == weights[1] != weights[2]


def test_no_step_is_looked_at_twice(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.training.trainer.CHECKPOINT_MINUTES", 0.0)
    result = train(asked(base, data, tmp_path / "out", steps=3))
    assert [point.steps for point in result.curve] == [1, 2, 3]


def test_what_the_base_says_elsewhere_is_kept_where_that_is_asked_for(
    base: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("launch.training.trainer.KEPT_PROMPTS", 12)
    for name, keep in (("plain", 0), ("kept", 4)):
        train(asked(base, data, tmp_path / name, steps=3, keep_base=keep))
        assert ("from the base" in capsys.readouterr().out) == (keep > 0)
        record = json.loads((tmp_path / name / "training.json").read_text(encoding="utf-8"))
        assert record["keep_base"] == keep
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("plain", "kept")]
    assert weights[0] != weights[1]


def test_the_last_layers_alone_may_be_trained(base: Path, data: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    train(asked(base, data, tmp_path / "out", steps=2, last_layers=1))
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "pt") as weights:
        names = list(weights.keys())
    assert names
    assert all(".layers.1." in name for name in names)


def test_peft_reads_the_adapter(base: Path, data: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train(asked(base, data, tmp_path / "out", steps=240))  # what 80 teach is not every answer
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "out"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tokenizer("[user] colour of thing3 [assistant]", return_tensors="pt")
    answer = model.generate(**ids, max_new_tokens=4, do_sample=False)[0][ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer).split() == ["red", "[end]"]
