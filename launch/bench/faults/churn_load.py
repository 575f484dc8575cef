"""Clients that ask four tasks without a pause while adapters come and go, and look at who answered."""

from __future__ import annotations

import http.client
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.errors import EngineFailure
from launch.bench.faults.churn_truth import PROMPTS, ExpectedAnswers, Verdict
from launch.engine.http import call
from launch.engine.scoring import Score, read_score, request

TOKENS = 4
"""Forced, so that each answer has a number for every place."""
WELL = frozenset({"own", "untold"})
DOCUMENTED = frozenset({"404 model_not_found", "503 adapter_not_loaded", "429 rate_limit_exceeded"})
"""What a client may meet while a task is removed and comes back; anything else is a fault."""


class ChurnRequest(NamedTuple):
    """One request; times are of `time.monotonic`."""

    began_s: float
    ended_s: float
    task: str
    status: str
    verdict: str
    """Empty where there was no answer."""
    adapter_id: str


@dataclass
class ChurnTally:
    """What all clients saw; one lock guards it."""

    answers: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    by_id: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    own_distances: list[float] = field(default_factory=list)
    seen: list[ChurnRequest] = field(default_factory=list)


class ChurnClients:
    """`count` threads; each keeps one connection. Every third request is a stream, where `streams`."""

    def __init__(
        self,
        url: str,
        key: str,
        tasks: Sequence[str],
        truth: ExpectedAnswers,
        requests: int,
        *,
        pause_s: float = 0.0,
        streams: bool = True,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        """`answered` is called after each request, by the client's thread."""
        self._host = urlsplit(url).netloc
        self._key = key
        self._tasks = tasks
        self._truth = truth
        self._left = requests
        self._pause_s = pause_s
        self._streams = streams
        self._answered = answered
        self._end = math.inf
        self._lock = threading.Lock()
        self.tally = ChurnTally()

    def run(self, count: int, limit_s: float) -> None:
        """Until every request is answered, or so long."""
        self._end = time.monotonic() + limit_s
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """No client asks again; what is under way is still answered."""
        with self._lock:
            self._left = 0

    def _client(self, number: int) -> None:
        chance = random.Random(number)
        connection = self._connect()
        while True:
            with self._lock:
                if self._left <= 0 or time.monotonic() > self._end:
                    connection.close()
                    return
                self._left -= 1
                turn = self._left
            task, prompt = chance.choice(self._tasks), chance.randrange(len(PROMPTS))
            began = time.monotonic()
            stream = self._streams and turn % 3 == 0
            try:
                status, verdict, adapter_id = self._ask(connection, task, prompt, stream=stream)
            except (OSError, http.client.HTTPException, EngineFailure, ValueError) as error:
                # What is left of a broken answer must not be read as the next one's.
                status, verdict, adapter_id = f"broken {type(error).__name__}: {error}", None, ""
                connection.close()
                connection = self._connect()
            what = "" if verdict is None else verdict.what
            self._note(ChurnRequest(began, time.monotonic(), task, status, what, adapter_id), verdict)
            self._answered()
            # After a refusal as a client that was told to come again.
            time.sleep(self._pause_s if status == "200" else 0.05)

    def _note(self, one: ChurnRequest, verdict: Verdict | None) -> None:
        with self._lock:
            tally = self.tally
            tally.seen.append(one)
            tally.statuses[one.status] += 1
            if verdict is None:
                if one.status not in DOCUMENTED:
                    tally.faults.append(f"{one.task}: {one.status}")
                return
            tally.answers += 1
            tally.latencies_ms.append((one.ended_s - one.began_s) * 1000)
            tally.by_id[one.adapter_id] += 1
            tally.verdicts[verdict.what] += 1
            tally.own_distances.append(verdict.own_distance)
            if verdict.what not in WELL:
                tally.faults.append(f"{one.adapter_id}: an answer is {verdict}")

    def _ask(
        self, connection: http.client.HTTPConnection, task: str, prompt: int, *, stream: bool
    ) -> tuple[str, Verdict | None, str]:
        """Status with its error code, verdict, id. Raises EngineFailure for an answer that is not whole."""
        body = {**request(task, PROMPTS[prompt], TOKENS), "stream": stream}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            error = json.loads(content)["error"]
            return f"{answer.status} {error['code']}", None, ""
        said = answer.headers["x-gateway-adapter"] or ""
        document = gathered(content) if stream else json.loads(content)
        if document.get("model") != said:
            raise EngineFailure(f"the header says {said}, the answer {document.get('model')}")
        if not said.startswith(f"{task}@"):
            raise EngineFailure(f"{task} was answered by {said}")
        return "200", self._truth.judge(said, prompt, read_score(said, document, reads=False)), said

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, timeout=120)


def gathered(content: bytes) -> dict[str, object]:
    """A stream's chunks as one completion. Raises EngineFailure where it has no end, or carries an error."""
    lines = [line.removeprefix(b"data: ") for line in content.split(b"\n") if line.startswith(b"data: ")]
    if not lines or lines[-1] != b"[DONE]":
        raise EngineFailure(f"a stream without its end: {content[-200:]!r}")
    values: list[float] = []
    model = ""
    for line in lines[:-1]:
        chunk = json.loads(line)
        model = chunk.get("model", model)
        for choice in chunk.get("choices", ()):
            found = choice.get("logprobs") or {}
            values += found.get("token_logprobs", ())
    return {"model": model, "choices": [{"logprobs": {"token_logprobs": values}}]}


def asked_directly(url: str, model: str, prompt: str, key: str) -> Score:
    """The engine's own answer, past the gateway. Raises EngineFailure."""
    answer = call(f"{url}/v1/completions", request(model, prompt, TOKENS), key=key)
    return read_score(model, answer, reads=False)
