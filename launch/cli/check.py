"""`lora-gateway check`, printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gateway.errors import code_of_setting, see
from launch.base.progress import terminal_progress
from launch.planning.check import check, facts, lines
from launch.planning.findings import errors


def print_check(file: Path, state_dir: Path | None, *, as_json: bool) -> int:
    """Exit code 0 where a start may be tried, else 2; errors and warnings go to stderr, one line each.

    Behind them stands where to read on, once for all errors of a kind.
    """
    with terminal_progress(quiet=as_json) as progress:
        progress("looking at configuration, base and adapters", None)
        report = check(file, state_dir)
    if as_json:
        print(json.dumps(facts(report), indent=2))
        return 0 if report.ok else 2
    for line in lines(report):
        print(line)
    sys.stdout.flush()
    for finding in report.findings:
        print(finding, file=sys.stdout if finding.level == "note" else sys.stderr)
    found = errors(report.findings)
    for code in dict.fromkeys(one.code or code_of_setting(one.key) for one in found):
        print(f"  {see(code)}", file=sys.stderr)
    if report.ok:
        print("all is well" if not report.findings else "nothing prevents a start")
    return 0 if report.ok else 2
