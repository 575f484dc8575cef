"""`lora-gateway train`: what it says at the end, and when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from launch.training.command import facts_of, report_of, train_command
from launch.training.trainer import Training, TrainResult

ROOT = Path(__file__).parents[4]


def test_the_command_ends_with_the_next_one(base: Path, data: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(train_command)
    options = ["--task", "colour", "--data", str(data), "--base", str(base), "--system", "say it"]
    ran = CliRunner().invoke(app, [*options, "--output", str(tmp_path / "out"), "--steps", "3"])
    assert ran.exit_code == 0, ran.output
    assert ran.output.splitlines()[-1] == (
        f"next: lora-gateway adapters add colour {tmp_path / 'out'} --system 'say it'"
    )


def test_a_stopped_training_says_what_is_kept() -> None:
    result = TrainResult(None, 7, 0.5, 56, 1.5, 0, None, None, True)
    text = report_of(Training("colour", Path("out")), result)
    assert text.startswith("stopped; the adapter as it was then is kept in out: 7 steps")
    assert text.endswith("next: lora-gateway adapters add colour out")


def test_ctrl_c_keeps_what_was_learned_and_says_so(base: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ["--task", "colour", "--data", str(data), "--base", str(base), "--output", str(output)]
    command = [sys.executable, "-m", "launch.train_lora", *options, "--steps", "1000000"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("step 3 "):
                break
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
    assert child.returncode == 130
    assert f"stopped; the adapter as it was then is kept in {output}" in rest
    assert json.loads((output / "training.json").read_text(encoding="utf-8"))["stopped"] is True


def test_a_program_is_told_the_same() -> None:
    result = TrainResult("be brief", 7, 0.5, 56, 1.5, 0, None, None, True)
    facts = json.loads(json.dumps(facts_of(Training("colour", Path("out")), result)))
    assert (facts["output"], facts["steps"], facts["stopped"]) == ("out", 7, True)
    assert facts["next"] == ["lora-gateway", "adapters", "add", "colour", "out", "--system", "be brief"]
