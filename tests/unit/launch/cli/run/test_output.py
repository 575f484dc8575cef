"""`lora-gateway run`: the output, in the input's order, and whose it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.cli.run.input_lines import read_request
from launch.cli.run.output import KeptResults
from launch.cli.run.results import LineOutcome, answered
from tests.unit.launch.cli.run.test_results import completion


def outcome_of(number: int, *, good: bool = True) -> tuple[LineOutcome, str]:
    request = read_request(number, b"line %d" % number, "m")
    return answered(request, 200 if good else 400, completion(f"answer {number}")), request.digest


def test_results_are_kept_in_the_inputs_order(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with KeptResults(output) as kept:
        for number in (5, 1, 3):
            kept.add(*outcome_of(number, good=number != 3))
    with (tmp_path / "out.jsonl.part").open("ab") as part:
        part.write(b'{"id": "run-2-')  # killed while it wrote
    with KeptResults(output) as kept:
        assert [kept.done(number) for number in range(7)] == [False, True, False, False, False, True, False]
        assert kept.has(3)
        kept.add(*outcome_of(3))
        kept.finish()
    assert [json.loads(line)["output"] for line in output.read_text().splitlines()] == [
        "answer 1",
        "answer 3",
        "answer 5",
    ]
    assert list(tmp_path.iterdir()) == [output]
    with KeptResults(output) as kept:  # lines were added to the input
        assert not kept.in_part
        kept.add(*outcome_of(2))
        kept.finish()
    assert [json.loads(line)["output"][-1] for line in output.read_text().splitlines()] == list("1235")


def test_output_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text('{"id": "mine"}\n')
    with pytest.raises(ConfigError, match="holds something else"):
        KeptResults(output)
    assert output.read_text() == '{"id": "mine"}\n'


def test_two_runs_do_not_share_an_output(tmp_path: Path) -> None:
    with KeptResults(tmp_path / "out"), pytest.raises(ConfigError, match="another run"):
        KeptResults(tmp_path / "out")
