"""`python -m launch.bench`."""

from __future__ import annotations

import sys

from gateway.errors import LoraGatewayError
from launch.__main__ import complain
from launch.bench.cli import build_bench_app

if __name__ == "__main__":
    try:
        build_bench_app()(prog_name="lora-gateway bench")
    except LoraGatewayError as error:
        sys.exit(complain(error))
