"""Which names are misspellings."""

from __future__ import annotations

from gateway.dialects.spelling import misspelt


def test_spelling() -> None:
    known = ["temperature", "stop", "top_p", "stream"]
    assert misspelt("", known) is None
    assert misspelt("stpo", known) == "stop"
    assert misspelt("tpo_p", known) == "top_p"
    assert misspelt("temprature", known) == "temperature"
    assert misspelt("tmprature", known) == "temperature"
    assert misspelt("tmpratur", known) is None
    assert misspelt("source", known) is None
    assert misspelt("top", known) is None
    assert misspelt("t" * 1000, known) is None
