"""`lora-gateway adapters …`, `tasks …` and `reload` against a control plane in the test's own loop."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config.snapshot import Operation, Snapshot
from gateway.errors import ConfigError
from launch.adapters.check import Adapter
from launch.base.progress import silent
from launch.cli.tasks.adapters import _Stages, absolute_source, canary_percent, shadow_share
from launch.supervisor.lock import sole_launch
from tests.fakes.plant import ROOT, Plant, PlantOptions
from tests.unit.launch.conftest import Shelled, run_cli

pytestmark = pytest.mark.anyio


async def test_add_shows_stages_and_ends_with_what_requests_see(shelled: Shelled) -> None:
    async with shelled() as shell:
        (old,) = shell.plant.versions()
        said = await shell.add("naming", "two")
        assert said.code == 0, said.err
        new = next(one for one in shell.plant.versions() if one != old)
        assert "checking" in said.err
        assert "loading and proving on engine-0" in said.err
        first, second, third = said.out.splitlines()
        assert first.startswith(f"{new}: rank 8, 0.0 MB, loaded and proven in ")
        assert second == f"naming: every request goes to {new}"
        assert third == f"{old} is kept: `lora-gateway adapters rollback naming` goes back to it"


async def test_add_as_json_keeps_stages_off_standard_output(shelled: Shelled) -> None:
    async with shelled() as shell:
        said = await shell.add("naming", "two", "--json")
        assert said.document["id"] in shell.plant.versions()
        assert said.document["took_s"] >= 0


async def test_what_the_checks_warn_of_is_said(shelled: Shelled) -> None:
    async with shelled() as shell:
        take = shell.plant.adapters.take

        def warning(*arguments: Any, **options: Any) -> Adapter:
            return dataclasses.replace(take(*arguments, **options), warnings=("was trained on 'other'",))

        shell.plant.adapters.take = warning  # type: ignore[method-assign]
        said = (await shell.add("naming", "two")).out
        assert "warning: was trained on 'other'\n" in said
        assert said.count("was trained on") == 1


async def test_canary_is_promoted_and_rolled_back(shelled: Shelled) -> None:
    async with shelled() as shell:
        (old,) = shell.plant.versions()
        said = await shell.add("naming", "two", "--canary", "10%")
        assert said.code == 0, said.err
        new = next(one for one in shell.plant.versions() if one != old)
        assert f"naming: 90 % of the requests go to {old}" in said.out
        assert f"naming: 10 % go to the canary {new}" in said.out
        again = await shell.add("naming", "three")
        assert (again.code, "promote it or roll it back first" in again.err) == (1, True)
        said = await shell.type("adapters", "promote", "naming")
        assert said.out.startswith(f"naming: every request goes to {new}\n")
        said = await shell.type("adapters", "rollback", "naming")
        assert said.out.startswith(f"naming: every request goes to {old}\n")
        said = await shell.type("adapters", "promote", "naming", new)
        assert said.out.startswith(f"naming: every request goes to {new}\n")


async def test_shadow_answers_nobody(shelled: Shelled) -> None:
    async with shelled() as shell:
        said = await shell.add("naming", "two", "--shadow", "5%")
        assert "gets copies of 5 % of the requests and answers nobody" in said.out
        assert shell.plant.snapshot.tasks["naming"].shadow
        listed = (await shell.type("adapters", "list")).out
        assert "  shadow  copies of 5 %" in listed
        assert (await shell.type("adapters", "rollback", "naming")).code == 0
        assert not shell.plant.snapshot.tasks["naming"].shadow


async def test_system_prompt_comes_with_a_new_task_and_a_misspelling_is_pointed_at(shelled: Shelled) -> None:
    async with shelled() as shell:
        said = await shell.add("namign", "two", "--system", "Say it.")
        assert said.code == 0
        assert "note: 'namign' will be a new task; did you mean 'naming'? (there are: naming;" in said.err
        shown = (await shell.type("adapters", "show", "namign")).out
        assert "system: Say it." in shown
        assert "the configuration does not know it" in shown
        said = await shell.type("adapters", "remove", "namign")
        assert said.out == "namign is removed; whoever asks for it now gets 404\n"
        assert "namign" not in shell.plant.snapshot.tasks


async def test_list_and_show_name_every_version(shelled: Shelled) -> None:
    async with shelled() as shell:
        (old,) = shell.plant.versions()
        await shell.add("naming", "two")
        said = await shell.type("adapters", "list")
        head, *lines = said.out.splitlines()
        assert head.split() == ["TASK", "VERSION", "ROLE", "REQUESTS", "STATE", "RANK", "SIZE", "SOURCE"]
        assert [line.split()[2] for line in lines] == ["previous", "active"]
        assert lines[1].endswith(shell.folder("naming", "two"))
        said = await shell.type("adapters", "show", "naming")
        assert f"{old}: previous, ready" in said.out
        assert said.out.count("loaded on engine-0") == 2
        assert (await shell.type("adapters", "list", "--json")).document["tasks"]["naming"]["previous"] == old
        assert (await shell.type("adapters", "show", "naming", "--json")).document["task"] == "naming"


async def test_one_version_is_removed_and_the_active_one_is_not(shelled: Shelled) -> None:
    async with shelled() as shell:
        (old,) = shell.plant.versions()
        await shell.add("naming", "two")
        (new,) = set(shell.plant.versions()) - {old}
        refused = await shell.type("adapters", "remove", "naming", new)
        assert (refused.code, "answers 100 % of 'naming'" in refused.err) == (1, True)
        said = await shell.type("adapters", "remove", "naming", old)
        assert said.out == f"naming: {old} is removed; it is unloaded once no request needs it\n"
        assert set(shell.plant.versions()) == {new}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("adapters", "show", "namign"),
            1,
            "There is no task 'namign'. Did you mean 'naming'? Tasks: naming.",
        ),
        (("adapters", "promote", "namign"), 1, "Did you mean 'naming'?"),
        (("adapters", "promote", "naming"), 1, "'naming' has no candidate to promote; its versions: naming@"),
        (("adapters", "rollback", "naming"), 1, "'naming' has no earlier version to go back to."),
        (("adapters", "remove", "naming", "naming@0?x=/../"), 1, "has no version naming@0?x=/../; it has: "),
        (("tasks", "reset", "namign"), 1, "Did you mean 'naming'?"),
        (("adapters", "show", "../naming"), 2, "TASK: ../naming: must be letters"),
        (("adapters", "add", "naming", "./nowhere"), 2, "nowhere: is not there; name a folder"),
        (("adapters", "add", "base", "/"), 2, "task: base: is the name of the base or of a pipeline"),
        (("adapters", "add", "naming", "/"), 2, "source: /: "),
        (
            ("adapters", "add", "naming", "/", "--canary", "100"),
            2,
            "--canary: 100: must be over 0% and under",
        ),
        (("adapters", "add", "naming", "/", "--shadow", "1"), 2, "--shadow: 1: is it 1% or 100%?"),
    ],
)
async def test_mistakes_are_one_line(
    shelled: Shelled, arguments: tuple[str, ...], code: int, said: str
) -> None:
    async with shelled(PlantOptions(base={"start": "lazy"}), ready=False) as shell:
        found = await shell.type(*arguments)
        last = found.err.splitlines()[-1]
        assert (found.code, found.out, last.startswith("error: "), said in last) == (code, "", True, True), (
            found
        )


async def test_two_adds_of_one_task_come_one_after_the_other(shelled: Shelled) -> None:
    async with shelled() as shell:
        held, entered = hold(shell.plant)
        state = str(shell.plant.folder / "state")
        first = await lora_gateway("adapters", "add", "naming", shell.folder("naming", "two"), state=state)
        await asyncio.to_thread(entered.wait, 10)
        second = await lora_gateway("adapters", "add", "naming", shell.folder("naming", "three"), state=state)
        assert second.stderr is not None
        async with asyncio.timeout(20):
            assert b"waiting for " in await second.stderr.readline()
            held.set()
            assert [await first.wait(), await second.wait()] == [0, 0]
        by_weight = {version.weight: version.source for version in shell.plant.versions().values()}
        assert by_weight == {0.0: shell.folder("naming", "two"), 100.0: shell.folder("naming", "three")}


async def test_who_leaves_is_told_that_the_load_goes_on(shelled: Shelled) -> None:
    async with shelled() as shell:
        held, entered = hold(shell.plant)
        state = str(shell.plant.folder / "state")
        leaving = await lora_gateway("adapters", "add", "naming", shell.folder("naming", "two"), state=state)
        assert leaving.stderr is not None
        async with asyncio.timeout(20):
            assert b"checking" in await leaving.stderr.readline()
            await asyncio.to_thread(entered.wait, 10)
            leaving.send_signal(signal.SIGINT)
            rest = (await leaving.stderr.read()).decode()
            assert await leaving.wait() == 130
        assert rest.startswith("left, but the control plane goes on: ")
        assert rest.count("\n") == 1
        listed = await shell.type("adapters", "list")
        assert f"on its way in: naming from {shell.folder('naming', 'two')}: checking" in listed.out
        held.set()
        await shell.plant.until(lambda: len(shell.plant.versions()) == 2)


async def test_stopped_engine_is_started_for_a_proof(shelled: Shelled) -> None:
    async with shelled(PlantOptions(base={"start": "lazy"}), ready=False) as shell:
        await shell.plant.until_state("stopped")
        said = await shell.add("naming", "two")
        assert said.code == 0, said.err
        assert "waiting for an engine (engine-0 " in said.err
        await shell.plant.until_state("ready")


async def test_failed_engine_is_named_as_the_reason(shelled: Shelled) -> None:
    options = PlantOptions(arguments=("--fail", "it is broken"), engine={"max_restarts": 0})
    async with shelled(options, ready=False) as shell:
        made = shell.plant
        await made.until(lambda: made.engine.state == "failed" and made.engine.next_try_at is None)
        said = await shell.add("naming", "two")
        assert (said.code, "No engine is ready to prove" in said.err, "it is broken" in said.err) == (
            1,
            True,
            True,
        )
        assert "naming" in made.snapshot.tasks
        assert len(made.versions()) == 1


async def test_reload_says_what_changed_and_what_waits(shelled: Shelled) -> None:
    async with shelled() as shell:
        assert (await shell.type("reload")).out == "nothing is different\n"
        await shell.add("naming", "two")
        options = shell.plant.options
        options.tasks = {"naming": "one", "extra": "x"}
        options.base = {"max_model_len": 99}
        lines = (await shell.type("reload")).out.splitlines()
        assert lines[0] == "new tasks: extra"
        assert lines[1].startswith("adapters loaded: extra@")
        assert lines[2:] == [
            "in force now: tasks.extra",
            "at the next start of the launch: base.max_model_len",
            "as commands left them, until `lora-gateway tasks reset`: naming",
        ]


async def test_refused_reload_leaves_the_old_configuration(shelled: Shelled) -> None:
    async with shelled(PlantOptions(arguments=("--effectless", "extra-idle"))) as shell:
        shell.plant.options.tasks = {"extra": "idle"}
        said = await shell.type("reload")
        assert said.code == 2
        first, second = said.err.splitlines()[-2:]
        assert first == "refused whole: the configuration from before goes on"
        assert second.startswith("error: tasks.extra.adapter: ")
        assert set(shell.plant.snapshot.tasks) == {"naming"}


async def test_status_has_the_best_state_of_all_and_what_comes_in(shelled: Shelled) -> None:
    async with shelled() as shell:
        held, entered = hold(shell.plant)
        adding = asyncio.create_task(shell.plant.add("naming", "two"))
        await asyncio.to_thread(entered.wait, 10)
        await shell.plant.until(lambda: bool(shell.plant.on_disk.operations))
        configuration = shell.plant.folder / "config.yaml"
        configuration.write_text("base: {model: m}\n")
        with sole_launch(shell.plant.folder / "state"):
            said = await shell.type("status", "--config", str(configuration), "--json")
            plain = await shell.type("status", "--config", str(configuration))
            configuration.write_text("base: [")
            state_dir = ("--state-dir", str(shell.plant.folder / "state"))
            told = await shell.type("status", "--config", str(configuration), *state_dir)
            assert (told.code, told.out) == (plain.code, plain.out)  # the launch itself may speak meanwhile
        assert "on its way in: naming from " in plain.out
        assert (said.document["state"], said.document["keys"]) == ("ready", {})
        assert said.document["operations"][0]["stage"] == "checking"
        held.set()
        assert (await adding).status_code == 200


@pytest.mark.parametrize(
    "arguments",
    [("adapters", "list"), ("adapters", "add", "naming", "/"), ("tasks", "diff"), ("reload",)],
)
def test_without_a_launch_the_mend_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    said = run_cli(capsys, *arguments, "--state-dir", str(tmp_path))
    assert said.code == 1
    [error] = said.err.splitlines()
    mend = f"No launch runs on {tmp_path}; start one with `lora-gateway up`, or give its --state-dir."
    assert error == f"error: {mend} (see docs/troubleshooting.md#control_plane_gone)"


async def test_control_plane_that_goes_in_the_middle_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(gone, tmp_path / "control.sock"):
        said = await asyncio.to_thread(run_cli, capsys, "tasks", "diff", "--state-dir", str(tmp_path))
    assert (said.code, said.err.startswith("error: The control plane went away")) == (1, True)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"tasks": 1, "operations": [], "retiring": []}'])
async def test_answer_of_an_unknown_form_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async with await asyncio.start_unix_server(other, tmp_path / "control.sock"):
        said = await asyncio.to_thread(run_cli, capsys, "adapters", "list", "--state-dir", str(tmp_path))
    assert (said.code, "of a form that is not known here" in said.err) == (1, True)


@pytest.mark.parametrize(("text", "percent"), [("10%", 10), ("10", 10), ("0.5%", 0.5), ("99.9 %", 99.9)])
def test_canary_is_in_percent(text: str, percent: float) -> None:
    assert canary_percent(text) == percent


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("5", 0.05), ("0.05", 0.05), ("100%", 1), ("1%", 0.01)]
)
def test_shadow_is_a_share(text: str, share: float) -> None:
    assert shadow_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "x", "-5", "nan", "1e9", "0", "0%", "200%", "5 percent"])
def test_what_is_no_part_is_refused(text: str) -> None:
    for parse in (canary_percent, shadow_share):
        with pytest.raises(ConfigError, match="--"):
            parse(text)


def test_small_canary_without_a_unit_is_asked_back() -> None:
    with pytest.raises(ConfigError, match=r"0\.1% or 10%"):
        canary_percent("0.1")
    with pytest.raises(ConfigError, match="must be over 0%"):
        canary_percent("0")


def test_source_is_made_absolute_where_the_shell_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute_source("./mine") == str(tmp_path / "mine")
    digest = "#sha256=" + "0" * 64
    assert absolute_source(f"mine{digest}") == f"{tmp_path}/mine{digest}"
    assert absolute_source("hf://org/name") == "hf://org/name"


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "x\n", "source": "/x"},
        {"task": "x", "source": "/x\x00"},
        {"task": "x", "source": "/x\x1b[2J"},
    ],
)
async def test_control_characters_are_refused(shelled: Shelled, fields: dict[str, str]) -> None:
    async with shelled(PlantOptions(base={"start": "lazy"}), ready=False) as shell:
        assert (await shell.plant.client.post("/adapters", json=fields)).status_code == 400


async def test_half_of_a_surrogate_pair_is_no_text(shelled: Shelled) -> None:
    async with shelled(PlantOptions(base={"start": "lazy"}), ready=False) as shell:
        body = b'{"task": "x", "source": "/x", "system": "\\ud800"}'
        answer: httpx.Response = await shell.plant.client.post("/adapters", content=body)
        assert (answer.status_code, "is not JSON" in answer.text) == (400, True)


async def test_copy_is_kept_that_comes_again_while_it_is_on_its_way_out(shelled: Shelled) -> None:
    async with shelled() as shell:
        made = shell.plant
        assert (await shell.add("other", "one")).code == 0
        (adapter_id,) = made.versions("other")
        held, entered = hold(made, after=True)
        released = made.supervisor.gateways.until_released

        async def released_later(*arguments: Any) -> bool:
            """On a busy machine it would be gone before it is added again."""
            await asyncio.to_thread(entered.wait, 10)
            return await released(*arguments)

        made.supervisor.gateways.until_released = released_later  # type: ignore[assignment,method-assign]
        assert (await shell.type("adapters", "remove", "other")).code == 0
        adding = asyncio.create_task(shell.add("other", "one"))
        await asyncio.to_thread(entered.wait, 10)  # its copy is looked at, and is sound
        await made.until(lambda: not made.snapshot.retiring)
        assert made.adapters.removed == []
        held.set()
        assert (await adding).code == 0
        assert list(made.versions("other")) == [adapter_id]
        assert adapter_id in made.engine.loaded


def hold(made: Plant, *, after: bool = False) -> tuple[threading.Event, threading.Event]:
    """Adds wait before their check, or after it, until the first event is set; the second: one does."""
    held, entered = threading.Event(), threading.Event()
    take = made.adapters.take

    def waiting(*arguments: Any, **options: Any) -> Adapter:
        taken = take(*arguments, **options) if after else None
        entered.set()
        assert held.wait(30)
        return taken or take(*arguments, **options)

    made.adapters.take = waiting  # type: ignore[method-assign]
    return held, entered


async def lora_gateway(*arguments: str, state: str) -> asyncio.subprocess.Process:
    """The command as a program of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "launch.cli.main", *arguments, "--state-dir", state),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def test_a_download_moves_the_bar_and_is_no_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, float | None]] = []
    stages = _Stages("naming", "hf://a/b", lambda stage, share: told.append((stage, share)))
    for stage in ("downloading w: 5 %", "downloading w: 10 %", "checking"):
        stages.heed(Snapshot(operations=[Operation("naming", "hf://a/b", stage, 0.0)]))
    assert told == [("downloading w", 0.05), ("downloading w", 0.1), ("checking", None)]
    assert [line.split(" s  ")[1] for line in capsys.readouterr().err.splitlines()] == ["checking"]


def test_without_a_bar_a_download_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    stages = _Stages("naming", "hf://a/b", silent)
    for share in (5, 10):
        stages.heed(Snapshot(operations=[Operation("naming", "hf://a/b", f"downloading w: {share} %", 0.0)]))
    assert [line.split(" s  ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "downloading w: 5 %",
        "downloading w: 10 %",
    ]
