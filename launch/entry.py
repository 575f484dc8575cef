"""The command `lora-gateway`, before its imports: they take a second, in which Ctrl-C is no fault either."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ends in SystemExit, with 130 after Ctrl-C."""
    try:
        from launch.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
