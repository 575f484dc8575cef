"""The measures of `lora-gateway evaluate`."""

from __future__ import annotations

import json

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from launch.evaluate import concept_schema, evaluate_command, read_held_out, report_of, score
from launch.scores import bootstrap, name_exact, name_in_lemmas, pairwise_f1, parse_groups
from launch.tasks_data import Example
from launch.train_lora import train_command


def answer(*groups: list[str]) -> str:
    return json.dumps({"concepts": [{"members": group, "definition": "d"} for group in groups]})


def test_pairwise_f1_is_one_for_the_same_groups_in_another_order() -> None:
    assert pairwise_f1([["a", "b"], ["c", "d"]], [["d", "c"], ["b", "a"]]) == 1.0


def test_pairwise_f1_counts_pairs_put_together() -> None:
    # Wanted ab, cd; found ab, ac, bc: one of three is right, and one of two is found.
    assert pairwise_f1([["a", "b"], ["c", "d"]], [["a", "b", "c"], ["d"]]) == pytest.approx(2 * 1 / (2 + 3))


def test_pairwise_f1_is_zero_for_nothing_put_together() -> None:
    assert pairwise_f1([["a", "b"]], [["a"], ["b"]]) == 0.0
    assert pairwise_f1([["a"], ["b"]], [["a"], ["b"]]) == 1.0


def test_pairwise_f1_gains_nothing_from_a_repeated_member() -> None:
    assert pairwise_f1([["a", "b"]], [["a", "a", "b"]]) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"concepts": {}}',
        '{"concepts": ["a"]}',
        '{"concepts": [{"members": [1], "definition": ""}]}',
        '{"concepts": [{"members": ["a"]}]}',
        '{"concepts": [',
    ],
)
def test_parse_groups_refuses_what_is_not_the_shape(text: str) -> None:
    assert parse_groups(text) is None


def test_parse_groups_gives_the_members() -> None:
    assert parse_groups(answer(["a", "b"], ["c"])) == [["a", "b"], ["c"]]


def test_name_exact_looks_past_case_quotes_and_underscores() -> None:
    assert name_exact("edible fruit", ' "Edible_Fruit".')
    assert not name_exact("edible fruit", "fruit")


def test_name_in_lemmas_takes_any_name_of_the_synset() -> None:
    assert name_in_lemmas(("basket", "handbasket"), "handbasket")
    assert not name_in_lemmas(("basket", "handbasket"), "hand")


def test_bootstrap_is_the_same_for_the_same_seed_and_holds_the_mean() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0] * 10
    interval = bootstrap(values, seed=3)
    assert interval == bootstrap(values, seed=3)
    assert interval.mean == pytest.approx(0.6)
    assert interval.low < interval.mean < interval.high
    assert interval.count == 50


def test_bootstrap_of_equal_values_has_no_width() -> None:
    interval = bootstrap([1.0] * 4)
    assert (interval.low, interval.mean, interval.high) == (1.0, 1.0, 1.0)


def test_bootstrap_refuses_no_values() -> None:
    with pytest.raises(ValueError, match="no value"):
        bootstrap([])


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


def test_held_out_files_hold_the_default_number_of_examples() -> None:
    assert len(read_held_out("naming", None)) == 150
    concept = read_held_out("concept", None)
    assert len(concept) == 60
    assert all(parse_groups(example.completion) == [list(g) for g in example.groups] for example in concept)


def test_train_and_evaluate_are_commands_with_help() -> None:
    app = typer.Typer()
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)
    for name in ("train", "evaluate"):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
