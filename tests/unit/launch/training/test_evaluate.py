"""`lora-gateway evaluate`: what a task is scored by."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from gateway.errors import ConfigError
from launch.training.command import train_command
from launch.training.data.nouns import cluster_terms
from launch.training.data.tasks import CLUSTERS
from launch.training.evaluate import (
    Answers,
    Trial,
    ask_all,
    concept_schema,
    conditions_of,
    evaluate,
    evaluate_command,
    floor_of,
    form_of,
    pipeline_trials,
    read_held_out,
    report_of,
    rounds_of,
    score,
    score_pipeline,
    trial_of,
    write_samples,
)
from launch.training.examples import Example
from launch.training.scores import parse_groups
from tests.unit.launch.training.test_scores import answer


def test_score_gives_each_metric_of_a_task() -> None:
    examples = [Example("p", "c", terms=("a", "b"), groups=(("a", "b"),)) for _ in range(2)]
    measures = score("concept", "base", True, examples, [answer(["a", "b"]), "no"])
    found = {measure.metric: measure.value.mean for measure in measures}
    assert found == {"pairwise F1": 0.5, "valid JSON": 0.5}
    json.dumps(report_of(measures, []))


def test_concept_schema_admits_only_the_given_terms() -> None:
    check = jsonschema.Draft202012Validator(concept_schema(["a", "b"]))
    assert check.is_valid(json.loads(answer(["a"], ["b"])))
    assert not check.is_valid(json.loads(answer(["a", "z"])))


def test_any_other_task_is_scored_by_exact_match() -> None:
    examples = [Example("dog, animal", "is a kind of"), Example("wheel, car", "is part of")]
    measures = score("relationship", "base", False, examples, ["Is a kind of.", "a wheel is part of a car"])
    assert [(measure.metric, measure.value.mean) for measure in measures] == [("exact match", 0.5)]


def test_own_data_has_a_floor_choices_and_room_for_its_longest_answer(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    lines = [{"prompt": str(at), "answer": "yes" if at else "no " * 40} for at in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    trial = trial_of("mine", path, "Say.", None)
    assert (trial.system, len(trial.examples), trial.max_tokens) == ("Say.", 4, 76)
    assert [measure.value.mean for measure in floor_of(trial)] == [0.75]
    assert form_of(trial, trial.examples[0], True) == {"structured_outputs": {"choice": trial.choices()}}
    assert form_of(trial, trial.examples[0], False) == {}


def test_digits_and_other_scripts_have_room_for_a_token_each(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    for said, most in (("12" * 20, 56), ("漢字" * 10, 76), ("letters", 19)):
        path.write_text(json.dumps({"prompt": "p", "answer": said}), encoding="utf-8")
        assert trial_of("mine", path, None, None).max_tokens == most


def test_a_chat_is_asked_with_what_was_said_before_and_shown_so(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "p"}, {"from": "gpt", "value": "a"}] * 2
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"conversations": turns, "system": "Say."}), encoding="utf-8")
    trial = trial_of("mine", path, None, None)
    asked: list[object] = []

    class Completions:
        async def create(self, *, messages: object, **_: object) -> SimpleNamespace:
            asked.append(messages)
            choice = SimpleNamespace(message=SimpleNamespace(content="a"))
            return SimpleNamespace(choices=[choice], usage=None)

    client: Any = SimpleNamespace(chat=SimpleNamespace(completions=Completions()))
    answers = asyncio.run(ask_all(client, trial, "mine", False))
    said = [("system", "Say."), ("user", "p"), ("assistant", "a"), ("user", "p")]
    messages = [{"role": role, "content": text} for role, text in said]
    assert asked == [messages[:2], messages]
    write_samples(tmp_path / "samples.jsonl", trial.examples, answers)
    shown = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text("utf-8").splitlines()]
    assert ("messages" in shown[0], shown[1]["messages"]) == (False, messages[1:])


def test_a_task_without_data_is_named_with_those_that_have_some() -> None:
    for name in ("mine", "everyday"):  # the latter are clusters for a pipeline, and no task
        with pytest.raises(
            ConfigError, match=f"--task: {name}: .*: concept, naming, relationship, attribute$"
        ):
            trial_of(name, None, None, None)


def test_what_is_measured_under_which_condition() -> None:
    assert conditions_of("concept", unconstrained=True, choices=False) == [True, False]
    assert conditions_of("naming", unconstrained=True, choices=False) == [False]
    assert conditions_of("mine", unconstrained=False, choices=True) == [False, True]


def test_the_base_is_asked_beside_a_task_and_a_pipeline_by_itself() -> None:
    task = trial_of("naming", None, None, 1)
    assert rounds_of(task, unconstrained=False, choices=False) == [(False, "base"), (False, "naming")]
    pipeline, _ = pipeline_trials("concept-naming", 1)
    assert rounds_of(pipeline, unconstrained=True, choices=True) == [(True, "concept-naming")]


def test_each_run_of_a_pipeline_says_which_clusters_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(_client: object, trial: Trial, *_: object) -> Answers:
        return Answers(["no"] * len(trial.examples), 1.0, 3)

    monkeypatch.setattr("launch.training.evaluate.ask_all", asked)
    _, runs = asyncio.run(evaluate("http://127.0.0.1:9/v1", pipeline_trials("concept-naming", 1)))
    assert [(run["task"], run["model"]) for run in runs] == [
        ("concept-naming", "concept"),
        ("concept-naming", "everyday"),
    ]


def test_held_out_files_hold_the_default_number_of_examples() -> None:
    assert len(read_held_out("naming", None)) == 150
    concept = read_held_out("concept", None)
    assert len(concept) == 60
    assert all(parse_groups(example.answer) == [list(g) for g in example.groups] for example in concept)


def test_train_and_evaluate_are_commands_with_help() -> None:
    app = typer.Typer()
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)
    for name in ("train", "evaluate"):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize("option", ["--output", "--samples"])
def test_a_folder_that_cannot_be_written_is_said_before_anybody_is_asked(option: str) -> None:
    app = typer.Typer()
    app.command()(evaluate_command)
    ran = CliRunner().invoke(app, ["--task", "naming", "--url", "http://127.0.0.1:9", option, "/proc/none"])
    assert str(ran.exception).startswith(f"{option}: /proc/none: cannot be written: ")


def test_a_pipeline_is_asked_as_clients_ask_it_and_a_failed_answer_counts_nothing() -> None:
    held, everyday = pipeline_trials("concept-naming", 2)
    assert (held.data, everyday.data, len(held.examples)) == ("concept", "everyday", 2)
    first = json.loads(held.examples[0].prompt)
    assert {"term", "gloss"} == first[0].keys()
    assert [one["term"] for one in first] == list(held.examples[0].terms)
    groups = [
        {"name": names[0], "definition": "A thing.", "members": group}
        for names, group in zip(everyday.examples[0].names, everyday.examples[0].groups, strict=True)
    ]
    measures = score_pipeline(everyday, [json.dumps({"concepts": groups}), "no"])
    assert {measure.value.mean for measure in measures} == {0.5}
    assert {measure.model for measure in measures} == {"everyday"}


def test_the_everyday_clusters_are_whole_and_apart_from_the_samples() -> None:
    examples = read_held_out("everyday", None)
    assert len(examples) == 24
    terms = [term for example in examples for term in example.terms]
    assert len(set(terms)) == len(terms)
    assert set(terms).isdisjoint(cluster_terms(CLUSTERS))
    for example in examples:
        assert sorted(term for group in example.groups for term in group) == sorted(example.terms)
        assert len(example.names) == len(example.groups)
        assert example.prompt.splitlines() == list(example.terms)
