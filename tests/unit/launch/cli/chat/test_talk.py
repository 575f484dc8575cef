"""A talk: what is asked, what is remembered, and how it ends."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from gateway.errors import ConfigError
from launch.cli.chat.answers import ChatClient
from launch.cli.chat.talk import Talk
from tests.unit.launch.conftest import run_cli


class Server:
    """Answers each chat with the number of its messages; `fails` with an error."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: list[dict[str, object]] = []
        self._fails = fails

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.asked.append(body)
        if self._fails:
            return httpx.Response(503, json={"error": {"message": "not yet"}})
        piece = json.dumps({"choices": [{"delta": {"content": f"{len(body['messages'])} heard"}}]})
        return httpx.Response(200, text=f"data: {piece}\n\ndata: [DONE]\n\n")


def talk(server: Server, *, system: str | None = None) -> Talk:
    client = ChatClient("http://gateway.test", None, httpx.MockTransport(server.answer))
    return Talk(client, ["naming", "base", "all"], "naming", system, forgetful={"all"})


def spoken(talk: Talk, said: Iterable[str | type[BaseException]]) -> tuple[int, str]:
    coming, out = iter(said), io.StringIO()

    def read() -> str:
        one = next(coming, EOFError)
        if isinstance(one, str):
            return f"{one}\n"
        raise one

    return talk.run(read, out), out.getvalue()


def test_a_gateway_that_is_named_needs_no_configuration_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for words in (("chat", "naming"), ("top", "--once")):
        said = run_cli(capsys, *words, "--url", url)
        assert url in said.out + said.err
        assert "--config" not in said.err


def test_what_was_said_before_is_told_again() -> None:
    server = Server()
    assert spoken(talk(server), ["a", "", "b"]) == (0, "1 heard\n3 heard\n")
    roles = [message["role"] for message in server.asked[1]["messages"]]  # type: ignore[attr-defined]
    assert roles == ["user", "assistant", "user"]


def test_a_system_prompt_stands_before_all() -> None:
    server = Server()
    spoken(talk(server, system="Be short."), ["a", "/new", "b"])
    assert [len(body["messages"]) for body in server.asked] == [2, 2]  # type: ignore[arg-type]


def test_a_pipeline_heeds_the_last_message_alone() -> None:
    server = Server()
    spoken(talk(server), ["/model all", "a", "b"])
    assert [(body["model"], len(body["messages"])) for body in server.asked] == [("all", 1)] * 2  # type: ignore[arg-type]


def test_a_misspelt_model_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    assert spoken(talk(server), ["/model namin", "/help", "/exit", "a"])[0] == 0
    assert "Did you mean 'naming'?" in capsys.readouterr().err
    assert not server.asked
    with pytest.raises(ConfigError, match="naming"):
        talk(server).check("namin")


def test_ctrl_c_ends_the_second_time_and_not_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = spoken(talk(Server()), [KeyboardInterrupt, "a", KeyboardInterrupt, KeyboardInterrupt, "b"])
    assert (code, out) == (130, "1 heard\n")


def test_a_failed_answer_is_told_and_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(fails=True)
    assert spoken(talk(server), ["a", "b"]) == (1, "")
    assert capsys.readouterr().err == "error: not yet\n" * 2
    assert [len(body["messages"]) for body in server.asked] == [1, 1]  # type: ignore[arg-type]
