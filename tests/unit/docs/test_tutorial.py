"""docs/tutorial.md: its data and its pipeline are what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from gateway.config.document import load_config
from gateway.pipeline.compile import compile_pipelines
from launch.cli.main import build_app
from launch.commands import command_of, walk
from launch.training.examples import read_examples

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_the_data_can_be_trained_on(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=30)
    examples = read_examples(tmp_path / "mood.jsonl").examples
    assert len(examples) == 300
    assert {example.answer for example in examples} == {"calm", "wild", "sad"}


def test_the_pipeline_is_one_beside_the_demo_s_own(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    demo = yaml.safe_load((ROOT / "configs/demo/config.yaml").read_text(encoding="utf-8"))
    for section, entries in yaml.safe_load(block).items():
        demo[section] |= entries
    (tmp_path / "concepts.schema.json").write_text((ROOT / "configs/demo/concepts.schema.json").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(demo))
    loaded = load_config(tmp_path / "mine.yaml", {})
    assert "concept-mood" in compile_pipelines(loaded)


def test_its_commands_are_there() -> None:
    known = {name for name, _ in walk(command_of(build_app()), "")}
    for words in re.findall(r"lora-gateway ((?:[a-z]+ ?){1,2})", TEXT):
        first, _, second = words.strip().partition(" ")
        assert first in known
        assert first != "adapters" or f"{first} {second}" in known
