"""The demo's clusters: how they are read, and who stands where he should."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.cli.demo.samples import Cluster, in_place, read_samples

ROOT = Path(__file__).parents[5]


def test_clusters_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"id": "a", "terms": ["x\u2028x", {"term": "y", "gloss": "z"}]}\r\n\n', encoding="utf-8")
    (sample,) = read_samples(file)
    assert sample == Cluster("a", ["x\u2028x", {"term": "y", "gloss": "z"}])
    assert sample.words == ["x\u2028x", "y"]


@pytest.mark.parametrize(
    ("text", "expected"), [("", "no cluster"), ("{", ":1"), ('{"id": 1}', ":1"), ("[]", ":1"), ("é", "UTF-8")]
)
def test_broken_clusters_are_named(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=expected):
        read_samples(file)


def test_groups_come_from_the_file_beside(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": 1, "terms": ["x"]}\n{"id": "b", "terms": ["y"]}\n')
    (tmp_path / "c.expected.jsonl").write_text('{"id": "1", "groups": [["x"]]}\n')
    assert [sample.groups for sample in read_samples(tmp_path / "c.jsonl")] == [[["x"]], ()]


def test_the_demo_says_of_every_term_where_it_belongs() -> None:
    samples = read_samples(ROOT / "configs/demo/clusters.jsonl")
    for sample in samples:
        assert sorted(word for group in sample.groups for word in group) == sorted(map(str, sample.words))


@pytest.mark.parametrize(
    ("expected", "given", "count"),
    [
        ([["a", "b"], ["c"]], [["c"], ["b", "a"]], 3),
        ([["a", "b"], ["c", "d"]], [["a", "b", "c", "d"]], 2),  # one concept is not two groups
        ([["a", "b"], ["c", "d"]], [["a", "c"], ["b", "d"]], 2),
        ([["a", "b", "c"]], [["a"], ["b", "c", "x"]], 2),
        ([["a"]], [["a"], ["a"]], 1),
        ([["a", "b"]], [["a", "a"]], 1),
        ([["a"]], [], 0),
        ([], [["a"]], 0),
    ],
)
def test_members_in_place(expected: list[list[str]], given: list[list[str]], count: int) -> None:
    assert in_place(expected, given) == count
