"""Sets a process's wall clock off by what stands in the file that CLOCK_OFFSET names.

Python imports a module of this name at its start, where PYTHONPATH leads to it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_right = time.time
_offset = Path(os.environ["CLOCK_OFFSET"])


def _wrong() -> float:
    return _right() + float(_offset.read_text())


time.time = _wrong
