"""The load's program: a line in, a line out."""

from __future__ import annotations

import io
import json
import sys
from types import ModuleType

import pytest

from launch.bench.engine import load_client


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
