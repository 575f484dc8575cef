"""What pip says of a failure, in one line with the mend."""

from __future__ import annotations

import pytest

from launch.setup.pip_errors import explain, is_unoffered

OFFLINE = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(': Failed to establish \
a new connection: [Errno -3] Temporary failure in name resolution')': /simple/accelerate/
ERROR: No matching distribution found for accelerate==1.15.0
"""


CHANGED = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    tiny==1 from file:///x/tiny-1-py3-none-any.whl (from -r r.txt (line 1)):
        Expected sha256 aa
             Got        bb
"""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (OFFLINE, "no network: accelerate==1.15.0 could not be fetched"),
        (CHANGED, "tiny==1 is not the file that is pinned"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        (
            "ERROR: No matching distribution found for torch==2.13.0+cpu",
            "no package source has torch==2.13.0",
        ),
    ],
)
def test_failure_of_pip_names_package_and_mend(log: str, said: str) -> None:
    assert said in (explain(log) or "")


def test_unknown_failure_of_pip_is_not_explained_away() -> None:
    assert explain("ERROR: something new") is None


def test_package_counts_as_unoffered_only_where_the_sources_answered() -> None:
    assert is_unoffered("ERROR: No matching distribution found for torch==2.13.0+cpu")
    assert not is_unoffered(OFFLINE)
