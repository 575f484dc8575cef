"""`lora-gateway chat`: lines in, answers out, until somebody has had enough."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Annotated, TextIO

import typer

from gateway.config.document import load_config
from gateway.errors import ConfigError, ModelNotFound
from launch.cli import completions
from launch.cli.banner import example_model
from launch.cli.chat.answers import ChatClient, ChatFailed, Message
from launch.cli.options import (
    DEMO_CONFIG,
    INTERRUPTED,
    ConfigOption,
    StateOption,
    UrlOption,
    api_key,
    gateway_url,
)

HELP = "/model NAME talks to another, /new forgets what was said, /exit ends (or Ctrl-D)"

Read = Callable[[], str]
"""The next line; raises EOFError at the end and KeyboardInterrupt at Ctrl-C."""


def chat_command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="a task, a pipeline or the base; default: a task", autocompletion=completions.models
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="a system prompt, before all that is said")] = None,
    url: UrlOption = None,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
) -> None:
    """Talk to a task of a running gateway; its key comes from LORA_GATEWAY_API_KEY or OPENAI_API_KEY.

    Ctrl-C ends the answer that is coming; at the prompt, twice ends the talk. What is piped in is asked line
    by line.
    """
    client = ChatClient(gateway_url(url, config, state_dir), api_key())
    try:
        models = client.models()
        loaded = load_config(config) if config.exists() else None  # of a gateway elsewhere there need be none
        first = (example_model(loaded),) if loaded else ()
        chosen = model or next((one for one in (*first, *models) if one in models), None)
        if chosen is None:
            raise ConfigError("MODEL", "", "this key may ask for no model")
        talk = Talk(client, models, chosen, system, forgetful=loaded.pipelines.keys() if loaded else ())
        talk.check(chosen)
        live = sys.stdin.isatty()
        if live:
            _say(f"talking to {chosen} ({', '.join(models)})\n{HELP}")
        code = talk.run(_prompted if live else _piped, sys.stdout)
    finally:
        client.close()
    raise typer.Exit(code)


class Talk:
    """What was said so far, and to whom. `forgetful`: models that heed the last message alone."""

    def __init__(
        self,
        client: ChatClient,
        models: Collection[str],
        model: str,
        system: str | None = None,
        *,
        forgetful: Collection[str] = (),
    ) -> None:
        self.model = model
        self._client = client
        self._models = models
        self._forgetful = forgetful
        self._beginning: list[Message] = [{"role": "system", "content": system}] if system else []
        self._said: list[Message] = []
        self._failed = False

    def check(self, model: str) -> None:
        """Raises ConfigError where there is no such model."""
        if model not in self._models:
            raise ConfigError("MODEL", "", ModelNotFound.naming(model, self._models).message)

    def run(self, read: Read, out: TextIO) -> int:
        """The exit code: 1 where the last answer failed, 130 where Ctrl-C ended it."""
        asked_to_leave = False
        while True:
            try:
                line = read().strip()
            except EOFError:
                return int(self._failed)
            except KeyboardInterrupt:
                if asked_to_leave:
                    _say("")
                    return INTERRUPTED
                asked_to_leave = True
                _say("\n(Ctrl-C again, Ctrl-D or /exit ends)")
                continue
            asked_to_leave = False
            if line in ("/exit", "/quit"):
                return 0
            if line.startswith("/"):
                self._obey(line)
            elif line:
                self._answer(line, out)

    def _obey(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        if command == "/new":
            self._said = []
        elif command == "/model" and rest.strip():
            try:
                self.check(rest.strip())
            except ConfigError as error:
                _say(error.mend)
                return
            self.model, self._said = rest.strip(), []
            _say(f"talking to {self.model}")
        else:
            _say(HELP)

    def _answer(self, line: str, out: TextIO) -> None:
        question: Message = {"role": "user", "content": line}
        before = [] if self.model in self._forgetful else self._said
        text: list[str] = []
        self._failed = False
        try:
            with self._client.ask(self.model, [*self._beginning, *before, question]) as pieces:
                for piece in pieces:
                    text.append(piece)
                    out.write(piece)
                    out.flush()
        except KeyboardInterrupt:
            out.write(" […]")
        except ChatFailed as error:
            self._failed = True
            if text:
                out.write("\n")
            _say(f"error: {error}")
            return
        out.write("\n")
        out.flush()
        self._said = [*before, question, {"role": "assistant", "content": "".join(text)}]


def _prompted() -> str:
    import readline  # noqa: F401  it gives `input` a history and arrow keys

    return input("> ")


def _piped() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
