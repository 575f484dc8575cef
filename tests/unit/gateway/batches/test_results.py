"""Two files that are the record of the work: what is whole in them is done, and nothing else."""

from __future__ import annotations

import errno
import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from gateway.batches.folder import Unreadable
from gateway.batches.in_process import Answered
from gateway.batches.records import Counts
from gateway.batches.results import LineResult, Results, answered, not_asked
from tests.support.batches.batch_stack import read_in_part

USAGE = b'{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}'


def good(number: int, body: bytes = USAGE) -> LineResult:
    return answered("batch_x", number, f"r{number}", Answered(200, body, f"q{number}"))


def opened(folder: Path) -> Results:
    results = Results("batch_x", folder / "output", folder / "errors")
    results.take_over()
    return results


def test_answers_go_to_output_and_failures_to_errors(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as results:
        failed = answered("batch_x", 2, "r2", Answered(500, b"{}", "q2"))
        results.add([good(1), failed, not_asked("batch_x", 3, "r3", "batch_expired", "late")])
        assert results.counts == Counts(completed=1, failed=1, input_tokens=3, output_tokens=4)
        assert [results.done(number) for number in range(5)] == [False, True, True, True, False]
        assert results.sizes == ((tmp_path / "output").stat().st_size, (tmp_path / "errors").stat().st_size)
    (line,) = (tmp_path / "output").read_text().splitlines()
    assert json.loads(line) == {
        "id": "batch_req_x_1",
        "custom_id": "r1",
        "response": {"status_code": 200, "request_id": "q1", "body": json.loads(USAGE)},
        "error": None,
    }
    errors = [json.loads(each) for each in (tmp_path / "errors").read_text().splitlines()]
    assert [each["error"] for each in errors] == [None, {"code": "batch_expired", "message": "late"}]


def test_there_is_no_file_before_there_is_something_in_it(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as results:
        assert list(tmp_path.iterdir()) == []
        results.add([good(1)])
        assert [path.name for path in tmp_path.iterdir()] == ["output"]
        assert results.sizes[1] == 0


def test_a_restart_knows_all_that_it_can_read_before_it_says_that_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened(tmp_path)) as results:
        results.add([good(1), answered("batch_x", 2, "r2", Answered(500, b"{}", "q2"))])
    read_in_part(monkeypatch, "errors", 0, [True])
    again = Results("batch_x", tmp_path / "output", tmp_path / "errors")
    with pytest.raises(Unreadable) as unreadable:
        again.take_over()
    assert unreadable.value.errno == errno.EIO
    assert [again.done(1), again.done(2)] == [True, False]
    assert again.sizes == ((tmp_path / "output").stat().st_size, 0)


def test_restart_knows_what_is_done_and_cuts_off_the_rest(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as results:
        results.add([good(1), good(300)])
    whole = (tmp_path / "output").read_bytes()
    (tmp_path / "output").write_bytes(whole + good(2).data[:-1])
    with closing(opened(tmp_path)) as again:
        assert (tmp_path / "output").read_bytes() == whole
        assert again.counts == Counts(2, 0, 6, 8)
        assert (again.done(300), again.done(2)) == (True, False)
        again.add([good(1), good(2)])  # the first stands there already
    assert (tmp_path / "output").read_bytes() == whole + good(2).data


def test_result_is_one_line_whatever_the_answer_was() -> None:
    spread = good(1, b'{\n "a":\r\n 1}').data
    assert spread.count(b"\n") == 1
    assert json.loads(spread)["response"]["body"] == {"a": 1}
    assert json.loads(good(1, b"<html>\n").data)["response"]["body"] == "<html>\n"


def test_no_reader_takes_a_text_in_a_result_for_a_lines_end() -> None:
    text = "a\u2028b\u2029c\u0085d é"
    (line,) = good(1, json.dumps({"a": text}, ensure_ascii=False).encode()).data.decode().splitlines()
    assert json.loads(line)["response"]["body"] == {"a": text}
    assert "é" in line


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (USAGE, (3, 4)),
        (b'{"usage": {"input_tokens": 5, "output_tokens": 6}}', (5, 6)),
        (b'{"usage": null}', (0, 0)),
        (b"[]", (0, 0)),
    ],
)
def test_tokens_are_read_by_whichever_names_there_are(body: bytes, usage: tuple[int, int]) -> None:
    assert good(1, body).usage == usage


def test_disk_that_fails_leaves_nothing_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with closing(opened(tmp_path)) as results:
        results.add([good(1)])
        before = (tmp_path / "output").read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                results.add([good(2)])
        assert (tmp_path / "output").read_bytes() == before
        assert not results.done(2)
        results.add([good(2)])
        assert results.counts.completed == 2


def test_a_file_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            opened(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
