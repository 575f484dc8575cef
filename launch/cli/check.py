"""`lora-gateway check`, printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from launch.planning.check import check, facts, lines


def print_check(file: Path, state_dir: Path | None, *, as_json: bool) -> int:
    """Exit code 0 where a start may be tried, else 2; errors and warnings go to stderr, one line each."""
    report = check(file, state_dir)
    if as_json:
        print(json.dumps(facts(report), indent=2))
        return 0 if report.ok else 2
    for line in lines(report):
        print(line)
    sys.stdout.flush()
    for finding in report.findings:
        print(finding, file=sys.stdout if finding.level == "note" else sys.stderr)
    if report.ok:
        print("all is well" if not report.findings else "nothing prevents a start")
    return 0 if report.ok else 2
