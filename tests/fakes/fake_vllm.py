"""A program in vLLM's place, for tests of the control plane: its routes and words, answers made of hashes.

`python tests/fakes/fake_vllm.py --port N`, and

- `--effectless TEXT`: an adapter whose path holds TEXT answers as the base does;
- `--only-under TEXT`: each does where TEXT is not in the prompt;
- `--takes-ms N`: an answer of a chat takes so long;
- `--hang MODEL`: completions of models whose names begin so wait until `POST /fake {"hang": false}`.

`POST /fake {"hang": true}` lets all completions wait.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Engine(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.adapters: dict[str, str] = {}
        self.going_on = threading.Event()
        if not options.hang:
            self.going_on.set()
        self.tokens = 0
        self.sleeping = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is sent whole: a body after its head waits 40 ms for an acknowledgement
    server: Engine

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {})
        elif self.path == "/v1/models":
            models = [{"id": "base", "root": "base"}]
            models += [
                {"id": name, "root": path, "parent": "base"} for name, path in self.server.adapters.items()
            ]
            self._answer(200, {"object": "list", "data": models})
        elif self.path == "/metrics":
            self._answer(200, f"vllm:generation_tokens_total{{}} {self.server.tokens}\n")
        else:
            self._answer(404, {"error": {"message": "not found"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
        route = self.path.partition("?")[0]
        if route == "/v1/load_lora_adapter":
            self._load(body)
        elif route == "/v1/unload_lora_adapter":
            known = self.server.adapters.pop(body["lora_name"], None)
            missing = f"The lora adapter '{body['lora_name']}' cannot be found."
            self._answer(*((200, "removed") if known else (404, {"error": {"message": missing}})))
        elif route in ("/v1/completions", "/v1/chat/completions"):
            self._complete(body)
        elif route == "/sleep":
            self.server.sleeping = True
            self._answer(200, {})
        elif route == "/wake_up":
            self.server.sleeping = False
            self._answer(200, {})
        elif route == "/fake":
            (self.server.going_on.clear if body["hang"] else self.server.going_on.set)()
            self._answer(200, {})
        else:
            self._answer(404, {"error": {"message": "not found"}})

    def _load(self, body: dict[str, str]) -> None:
        name, path = body["lora_name"], body["lora_path"]
        if self.server.options.no_updates:
            self._answer(404, {"error": {"message": "not found"}})
        elif name in self.server.adapters:
            self._answer(400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}})
        elif not Path(path).is_dir():
            self._answer(404, {"error": {"message": f"No adapter found for {path}"}})
        else:
            self.server.adapters[name] = path
            self._answer(200, "loaded")

    def _complete(self, body: dict[str, Any]) -> None:
        model = body["model"]
        if model.startswith(self.server.options.hang):
            self.server.going_on.wait()
        if model != "base" and model not in self.server.adapters:
            self._answer(404, {"error": {"message": f"The model `{model}` does not exist."}})
            return
        self.server.tokens += 1
        acts = model
        effectless = self.server.options.effectless
        if effectless and effectless in self.server.adapters.get(model, ""):
            acts = "base"
        if self.server.options.only_under not in str(body.get("prompt")):
            acts = "base"
        digest = hashlib.sha256(f"{acts}|{body.get('prompt')}".encode()).hexdigest()
        tokens = [digest[:4], digest[4:8]]
        values = [-int(token, 16) / 6553.6 for token in tokens]
        logprobs = {"tokens": tokens, "token_logprobs": values}
        choice = {"index": 0, "text": "".join(tokens), "logprobs": logprobs, "finish_reason": "stop"}
        if "prompt_logprobs" in body:
            choice["prompt_logprobs"] = [None, *({"1": {"logprob": value}} for value in values)]
        if "messages" in body:
            threading.Event().wait(self.server.options.takes_ms / 1000)
            choice = {"index": 0, "message": {"role": "assistant", "content": model}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        self._answer(
            200, {"id": "x", "object": "o", "created": 1, "model": model, "choices": [choice], "usage": usage}
        )

    def _answer(self, status: int, document: object) -> None:
        data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain" if isinstance(document, str) else "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--effectless", default="")
    parser.add_argument("--only-under", default="")
    parser.add_argument("--hang", default="")
    parser.add_argument("--takes-ms", type=float, default=0.0)
    parser.add_argument("--no-updates", action="store_true")
    parser.add_argument("--fail", default="")
    options = parser.parse_args()
    if options.fail:
        raise SystemExit(options.fail)
    Engine(options).serve_forever()


if __name__ == "__main__":
    main()
