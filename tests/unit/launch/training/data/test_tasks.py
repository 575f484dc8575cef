"""The demo's tasks: their prompts are those that the demo serves, and their examples a command's lines."""

from __future__ import annotations

import itertools
from pathlib import Path
from unittest.mock import Mock

import pytest
import typer
from typer.testing import CliRunner

from gateway.config.document import load_config
from gateway.errors import ConfigError
from launch.training.data import tasks
from launch.training.data.nouns import Split, Task
from launch.training.data.tasks import (
    HELD_OUT_EXAMPLES,
    SYSTEM_PROMPTS,
    data_command,
    demo_held_out,
    held_out_examples,
    training_examples,
)
from launch.training.data.wordnet import WordNet
from launch.training.evaluate import read_held_out

ROOT = Path(__file__).parents[5]
TASKS: tuple[Task, ...] = ("concept", "naming")


def test_prompts_are_those_of_the_served_demo() -> None:
    served = {
        name: task.system for name, task in load_config(ROOT / "configs/demo/config.yaml").tasks.items()
    }
    assert served
    assert {name: SYSTEM_PROMPTS[name] for name in served} == served
    assert SYSTEM_PROMPTS.keys() == HELD_OUT_EXAMPLES.keys()


def test_held_out_files_have_no_more_than_are_measured_with() -> None:
    for task, count in HELD_OUT_EXAMPLES.items():
        lines = (ROOT / "configs/demo/heldout" / f"{task}.jsonl").read_text().splitlines()
        assert count / 2 < len(lines) <= count, task


def test_missing_wordnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wordnet"):
        demo_held_out("naming", tmp_path)
    app = typer.Typer()
    app.command()(data_command)
    ran = CliRunner().invoke(app, ["naming", "--wordnet", str(tmp_path)])
    assert isinstance(ran.exception, ConfigError)
    assert CliRunner().invoke(app, ["nothing"]).exit_code == 2


@pytest.mark.parametrize("task", TASKS)
def test_training_data_is_the_same_for_the_same_seed(
    net: WordNet, splits: dict[Task, Split], task: Task
) -> None:
    first, second, other = (
        list(itertools.islice(training_examples(task, net, splits[task], seed), 20)) for seed in (1, 1, 2)
    )
    assert first == second != other


def test_training_keeps_back_what_its_split_keeps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Mock()
    monkeypatch.setattr(tasks, "named_groups", asked)
    monkeypatch.setattr(tasks, "trained_clusters", Mock(return_value=[]))
    split = Split([], [], reserved=frozenset({"0001"}), everyday=frozenset({"apple"}))
    assert not list(training_examples("concept", Mock(), split, 1))
    assert asked.call_args.args[2:] == (split.reserved, split.everyday)


@pytest.mark.parametrize("task", TASKS)
def test_held_out_files_are_those_the_code_builds(
    net: WordNet, splits: dict[Task, Split], task: Task
) -> None:
    held = read_held_out(task, None)
    assert held == held_out_examples(task, net, splits[task], len(held))
