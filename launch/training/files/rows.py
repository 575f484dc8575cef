"""The rows of a data file: JSON lines, or one JSON array of them, packed by gzip or not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError

LINE_SHAPE = 'write {"prompt": "…", "answer": "…"}'
GZIP = b"\x1f\x8b"
TO_LINES = "write its rows as JSON lines: pandas.read_{}(…).to_json(…, orient='records', lines=True)"
UNPACK = "unpack it first; of packed files only gzip's are read"
OTHERS = (
    (b"PAR1", "is a Parquet file", TO_LINES.format("parquet")),
    (b"ARROW1", "is an Arrow file", TO_LINES.format("feather")),
    (b"PK\x03\x04", "is a zip archive or a workbook", "take the data out of it, as JSON lines"),
    (b"\x28\xb5\x2f\xfd", "is packed by zstd", UNPACK),
    (b"BZh", "is packed by bzip2", UNPACK),
    (b"\xfd7zXZ\x00", "is packed by xz", UNPACK),
)
"""What other files begin with, what they are, and what to do with them."""
TABLES = (".csv", ".tsv")


class BrokenRow(Exception):
    """A row that is no example; its text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Each row that is not empty with its number; what could not be read is there as its error."""

    rows: Sequence[tuple[int, object]]
    unit: str = "line"
    """What the numbers count: lines, or an array's rows."""


def read_rows(path: Path, key: str) -> Rows:
    """Raises ConfigError for a file that cannot be read, or is of a form without rows of JSON."""
    try:
        content = path.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        mend = "cannot be read: no such file; save a hub's data set as one: load_dataset(…).to_json(…)"
        raise ConfigError(key, str(path), mend) from error
    except IsADirectoryError as error:
        raise ConfigError(key, str(path), "is a folder; name the file in it") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(key, str(path), f"is packed by gzip and broken ({error}); pack it again") from error
    except OSError as error:
        raise ConfigError(key, str(path), f"cannot be read: {error.strerror}") from error
    for mark, what, mend in OTHERS:
        if content.startswith(mark):
            raise ConfigError(key, str(path), f"{what}; {mend}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(key, str(path), f"is not UTF-8 ({error.reason}); save it as UTF-8") from error
    if text.lstrip().startswith("["):
        try:
            return Rows(list(enumerate(json.loads(text), start=1)), "row")
        except RecursionError:
            pass  # said of the line
        except ValueError as error:
            if not str(error).startswith("Extra data"):  # that is what lines of arrays have
                raise ConfigError(key, str(path), f"begins as a JSON array and is none: {error}") from error
    elif any(ending in TABLES for ending in path.suffixes[-2:]):
        mend = TO_LINES.format("csv")
        raise ConfigError(key, str(path), f"is a table of {path.suffix[1:].upper()}; {mend}")
    lines = enumerate(text.split("\n"), start=1)
    return Rows([(number, _decoded(line)) for number, line in lines if line.strip()])


def _decoded(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        return BrokenRow(f"is not JSON ({error}); {LINE_SHAPE} on a line of its own")
    except RecursionError:
        return BrokenRow(f"is nested too deep; {LINE_SHAPE}")
