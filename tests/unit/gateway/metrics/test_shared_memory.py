"""The region that workers share: whole records, a full one, a dead worker's."""

from __future__ import annotations

from gateway.metrics.shared_memory import CHANGES, HEADER_BYTES, OWNER, RECORD, USED, Region, key_of, parts_of
from tests.unit.gateway.metrics.test_counters import SMALL, pid_of_none


def test_a_record_is_seen_only_when_whole() -> None:
    region = Region(SMALL)
    first = region.append(key_of("series", "a"), 3)
    assert first is not None
    first[2] = 7.0
    complete = region._words[USED]
    second = region.append(key_of("series", "b"), 8)
    assert second is not None
    second[:] = memoryview(b"\1" * 64).cast("d")
    whole = region._words[USED]

    region._words[USED] = complete  # its writer was killed before it published the record
    assert [(parts_of(key), cells.tolist()) for key, cells in region.records()] == [
        (("series", ("a",)), [0.0, 0.0, 7.0])
    ]
    again = region.append(key_of("series", "a longer name"), 2)
    assert again is not None
    assert again.tolist() == [0.0, 0.0]

    region._words[USED] = whole + 4096  # a reader that sees the count before what was written
    assert [parts_of(key)[1] for key, _ in region.records()] == [("a",), ("a longer name",)]


def test_a_writer_that_was_killed_while_it_used_a_place_again_hides_no_record() -> None:
    region = Region(SMALL)
    region.take()
    gone, kept, new = (key_of("series", name) for name in ("gone", "kept", "new!"))
    for key in (gone, kept):
        region.append(key, 2)
    with region.replacing():
        region.remove(gone)
    read_from = region._words[CHANGES]  # a reader begins
    region._words[CHANGES] += 1
    region._bytes[HEADER_BYTES + RECORD.size :][: len(new)] = new  # and the writer ends

    assert list(region.take()) == [kept]
    assert region._words[CHANGES] not in (read_from, read_from + 1)
    region.append(new, 2)
    assert [key for key, _ in region.records()] == [new, kept]


def test_a_region_says_when_it_is_full() -> None:
    key = key_of("series", "a")
    region = Region(HEADER_BYTES + 16 + (len(key) + 7) // 8 * 8 + 8 * 3)
    assert region.append(key, 4) is None
    assert region.append(key, 3) is not None
    assert region.append(key, 0) is None


def test_a_region_knows_whether_its_process_runs() -> None:
    region = Region(SMALL)
    assert not region.alive
    region.take()
    assert region.alive
    region._words[OWNER] = pid_of_none()
    assert not region.alive
