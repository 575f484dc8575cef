"""Instructions per request through `perf stat`: a figure that other load on the machine does not move."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence

EVENT = "instructions:u"


def supported() -> bool:
    """Whether perf is installed and the processor's counter can be read; virtual machines often hide it."""
    perf = shutil.which("perf")
    if perf is None:
        return False
    done = subprocess.run(
        [perf, "stat", "-x,", "-e", EVENT, "true"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and count_of(done.stderr) is not None


def count_of(output: str) -> int | None:
    """The count in `perf stat -x,`'s output; None where it could not count."""
    for line in output.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2].startswith("instructions") and fields[0].isdigit():
            return int(fields[0])
    return None


def during(pids: Sequence[int], work: Callable[[], int]) -> float | None:
    """Instructions of the processes per unit of `work`; None where they could not be counted."""
    perf = shutil.which("perf")
    if perf is None or not pids:
        return None
    argv = [perf, "stat", "-x,", "-e", EVENT, "-p", ",".join(map(str, pids))]
    counting = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        done = work()
    finally:
        # Without a command perf counts until it is interrupted, and tells then.
        counting.send_signal(signal.SIGINT)
        _, output = counting.communicate(timeout=30)
    count = count_of(output)
    return count / done if count is not None and done else None
