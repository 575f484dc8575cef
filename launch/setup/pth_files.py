"""Start-up files (`*.pth`) that no package of an environment owns.

Python runs each line of one that begins with `import` whenever it starts, before any program of ours. A
package that was tampered with, or that pip did not remove whole, leaves one behind. Standard library only.

    python -m launch.setup.pth_files [FOLDER …]
"""

from __future__ import annotations

import base64
import csv
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

KNOWN = {"_virtualenv.pth": b"import _virtualenv"}
"""Of the tools that make environments, which keep no record of it."""


def stray_files(folder: Path) -> list[str]:
    """What is wrong with each `.pth` file of a site-packages folder; empty where nothing is."""
    owned = dict(_recorded(folder))
    found: list[str] = []
    for file in sorted(folder.glob("*.pth")):
        data = file.read_bytes()
        if KNOWN.get(file.name) == data.strip():
            continue
        if file.name not in owned:
            runs = ", and runs code at each start" if _runs_code(data) else ""
            found.append(f"{file}: belongs to no installed package{runs}")
        elif owned[file.name] not in ("", _digest(data)):
            found.append(f"{file}: is not what its package installed")
    return found


def _recorded(folder: Path) -> Iterator[tuple[str, str]]:
    """Names of `.pth` files in the packages' records, each with its digest, which may be empty."""
    for record in folder.glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines):
                if row and row[0].endswith(".pth") and "/" not in row[0]:
                    yield row[0], row[1].removeprefix("sha256=") if len(row) > 1 else ""


def _runs_code(data: bytes) -> bool:
    return any(line.startswith((b"import ", b"import\t")) for line in data.splitlines())


def _digest(data: bytes) -> str:
    """As a RECORD has it (PEP 376)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")


def main(arguments: Sequence[str]) -> int:
    """1 where there is a stray file, each on a line; without arguments this environment is looked at."""
    folders = [Path(each) for each in arguments] or sorted(
        {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    )
    found = [line for folder in folders for line in stray_files(folder)]
    for line in found:
        print(f"error: {line}: look at it, delete it, and set the environment up anew", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
