"""`bench proof`: every type beside every crowd, each kept at once; an error in any is the command's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from gateway.config.document import Config, load_config
from launch.bench.engine.config import KEY
from launch.bench.faults import proof
from launch.bench.faults.proof_trials import Errors

DEMO = Path(__file__).parents[5] / "configs/demo/config.yaml"


def written(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*-proof.json")
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def command(folder: Path, **options: Any) -> None:
    given: dict[str, Any] = {"config": DEMO, "repeats": 2, "types": "bfloat16,float32", "in_flight": "0,3"}
    proof.proof_command(**{**given, "scale": 0.5, "adapter": None, "output": folder, **options})


@pytest.mark.parametrize("refused", [0, 1])
def test_each_type_is_tried_beside_each_crowd_and_an_error_is_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    asked: list[tuple[str, list[int], int, float]] = []
    kept: list[int] = []

    def measure(
        given: Config,
        scratch: Path,
        dtype: str,
        folders: Sequence[Path],
        crowds: list[int],
        repeats: int,
        scale: float,
    ) -> Iterator[Errors]:
        assert scratch.is_dir()
        assert folders[-1] == tmp_path / "own"
        asked.append((dtype, crowds, repeats, scale))
        for crowd in crowds:
            yield Errors(
                crowd, proofs=2, weak_refused=refused * (crowd == 3), asked=1, scores=[5], took_s=[1.0, 2.0]
            )
            kept.append(len(written(tmp_path)["cells"]))

    monkeypatch.setattr(proof, "measure", measure)
    if refused:
        with pytest.raises(typer.Exit) as ended:
            command(tmp_path, adapter=[tmp_path / "own"])
        assert ended.value.exit_code == 1
    else:
        command(tmp_path, adapter=[tmp_path / "own"])
    assert asked == [("bfloat16", [0, 3], 2, 0.5), ("float32", [0, 3], 2, 0.5)]
    assert kept == [1, 2, 3, 4]  # each takes minutes: none is lost with a later one
    cells = written(tmp_path)["cells"]
    assert [(cell["dtype"], cell["in_flight"]) for cell in cells] == [
        ("bfloat16", 0),
        ("bfloat16", 3),
        ("float32", 0),
        ("float32", 3),
    ]


def test_one_engine_without_a_gateway_serves_all_crowds_and_only_a_crowd_is_proven_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[object] = []

    @contextmanager
    def running(config: Config, scratch: Path, key: str, *, gateway: bool) -> Iterator[SimpleNamespace]:
        log.append((config.base.dtype, sorted(config.tasks), gateway))
        yield SimpleNamespace(engine_url="http://e", base="base", adapters={"naming": "naming@1"})
        log.append("stopped")

    class Traffic:
        def __init__(self, url: str, models: list[str], crowd: int, key: str) -> None:
            assert key == KEY  # the engine asks for it
            self._shown = (models, crowd)

        def __enter__(self) -> None:
            log.append(self._shown)

        def __exit__(self, *_: object) -> None:
            log.append("quiet")

    def tried(
        url: str,
        base: str,
        loaded: object,
        crowd: int,
        repeats: int,
        at_once: int,
        *,
        key: str,
        tried: Callable[[], None],
    ) -> Errors:
        assert key == KEY
        tried()
        log.append(("proofs at once", at_once))
        return Errors(crowd)

    monkeypatch.setattr(proof, "running_stack", running)
    monkeypatch.setattr(proof, "Traffic", Traffic)
    monkeypatch.setattr(proof, "try_proofs", tried)
    monkeypatch.setattr(proof, "load_scaled", lambda url, folders, into, scale, key: log.append(scale))
    given = load_config(DEMO)
    found = list(proof.measure(given, tmp_path, "float32", [], [0, 16], 5, 0.25))
    assert [one.in_flight for one in found] == [0, 16]
    both = ["base", "naming@1"]
    assert log == [
        ("float32", sorted(given.tasks), False),
        0.25,
        (both, 0),
        ("proofs at once", 1),
        "quiet",
        (both, 16),
        ("proofs at once", proof.PROOFS_AT_ONCE),
        "quiet",
        "stopped",
    ]


def test_a_row_shows_a_cells_figures_in_the_order_of_the_headings() -> None:
    table = proof.table_of([{name: index for index, name in enumerate(proof.SHOWN)}])
    assert [str(column.header) for column in table.columns] == list(proof.SHOWN.values())
    assert [next(iter(column.cells)) for column in table.columns] == [
        str(at) for at in range(len(proof.SHOWN))
    ]
