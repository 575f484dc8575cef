"""Types as people write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from launch.bench.cli import build_bench_app
from launch.cli.main import build_app
from launch.commands import add_late, command_of, imported_command, late_group, run_app, walk

HelpOf = Callable[..., str]


def sample_app() -> typer.Typer:
    app = typer.Typer(add_completion=False)

    def one(
        source: Annotated[str, typer.Argument(help="where from")],
        rounds: Annotated[int, typer.Option(min=1)] = 3,
        share: float = 0.5,
        folder: Path | None = None,
        names: list[str] | None = None,
        quick: bool = False,
    ) -> None:
        print(source, rounds)

    app.command()(one)
    return app


def late_command(depth: int = 1) -> None:
    raise typer.Exit(depth)


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> HelpOf:
    monkeypatch.setenv("COLUMNS", "160")

    def shown(app: typer.Typer, *words: str) -> str:
        with pytest.raises(SystemExit):
            run_app(app, [*words, "--help"])
        return capsys.readouterr().out

    return shown


def test_a_type_is_what_is_written(help_of: HelpOf) -> None:
    text = help_of(sample_app())
    for option, word in (("rounds", "INTEGER"), ("share", "NUMBER"), ("folder", "PATH"), ("names", "TEXT")):
        assert re.search(rf"--{option} +{word}", text)
    assert re.search(r"--quick +[^ A-Z<]", text)


@pytest.mark.parametrize("app", [build_app(), build_bench_app()], ids=["lora-gateway", "bench"])
def test_no_help_shows_a_type_of_the_program(app: typer.Typer, help_of: HelpOf) -> None:
    for name, _ in walk(command_of(app), ""):
        assert not re.search(r"<(?:int|float|str|bool|path|list)|range>", help_of(app, *name.split())), name


def test_a_late_command_is_made_once_a_line_names_it(help_of: HelpOf) -> None:
    made: list[str] = []

    def late() -> typer.Typer:
        made.append("late")
        return imported_command("late", "tests.unit.launch.test_commands", "late_command")

    app = typer.Typer(cls=late_group({"late": late}))
    app.command("other")(lambda: None)
    add_late(app, "late", "Comes later")
    assert "Comes later (late --help lists its options)." in " ".join(help_of(app).split())
    help_of(app, "other")
    assert made == []
    assert "--depth" in help_of(app, "late")
    with pytest.raises(SystemExit) as caught:
        run_app(app, ["late", "--depth", "3"])
    assert (caught.value.code, made) == (3, ["late", "late"])


def test_home_is_meant_where_the_shell_leaves_it_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "/at/home")
    app = typer.Typer(add_completion=False)

    def one(
        source: Path,
        folder: Path | None = None,
        many: list[Path] | None = None,
        config: Annotated[Path, typer.Option(callback=lambda value: value / "x")] = Path("c"),
    ) -> None:
        print(source, folder, *many or (), config)

    app.command()(one)
    for words, said in (
        (["~/a", "--folder=~/b", "--many=~/c", "--many=d"], "/at/home/a /at/home/b /at/home/c d c/x"),
        (["a", "--config=~/b"], "a None /at/home/b/x"),
        (["~nobody-there/a"], "~nobody-there/a None c/x"),
    ):
        with pytest.raises(SystemExit):
            run_app(app, words)
        assert capsys.readouterr().out == f"{said}\n"


def test_a_command_line_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_app(sample_app(), ["x", "--rounds", "4"])
    assert not caught.value.code
    assert capsys.readouterr().out == "x 4\n"
