"""Every benchmark is a command of `lora-gateway bench`."""

from __future__ import annotations

from launch.bench.cli import build_bench_app


def test_every_benchmark_is_a_command() -> None:
    names = {command.name for command in build_bench_app().registered_commands}
    assert names == {
        "overhead",
        "scale",
        "report",
        "engine",
        "pipeline",
        "slots",
        "churn",
        "proof",
        "recovery",
        "beside",
        "overload",
        "bases",
        "workers",
        "replicas",
        "replacement",
        "simulator",
    }
