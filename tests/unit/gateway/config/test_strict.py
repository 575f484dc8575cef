"""What every part of the configuration is held to."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from gateway.config.strict import NAME, Duration, Positive, Strict


class Section(Strict):
    wait: Duration = 1.0
    count: Positive | Literal["auto"] | None = None
    share: float = Field(default=1.0, alias="part")
    shares: dict[str, float] = {}
    flag: bool = False


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7", 7), (8, 8)])
def test_durations_have_units(text: object, seconds: float) -> None:
    assert Section.model_validate({"wait": text}).wait == seconds


@pytest.mark.parametrize("text", ["0s", "-1", "ten", "5d", "", None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        Section.model_validate({"wait": text})


@pytest.mark.parametrize("key", ["wait", "part", "shares"])
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_without_an_end_is_refused(key: str, number: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Section.model_validate({key: {"x": number} if key == "shares" else number})


def test_unknown_key_is_refused_and_nothing_changes_later() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Section.model_validate({"wiat": 1})
    with pytest.raises(ValidationError, match="frozen"):
        Section().wait = 2.0


def test_names() -> None:
    assert all(NAME.match(one) for one in ("a", "A.b-c_1", "0", "x" * 63))
    assert not any(NAME.match(one) for one in ("", "-a", ".a", "a b", "a@b", "a/b", "x" * 64, "a\n"))


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("key", ["wait", "count", "part", "shares"])
def test_a_flag_is_no_number(key: str, flag: bool) -> None:
    with pytest.raises(ValidationError, match="must be a number; YAML reads yes"):
        Section.model_validate({key: {"x": flag} if key == "shares" else flag})


def test_numbers_in_texts_and_floats_that_are_whole_are_numbers_and_flags_are_flags() -> None:
    read = Section.model_validate({"count": 8.0, "part": "0.5", "shares": {"x": "2"}, "flag": True})
    assert (read.count, read.share, read.shares, read.flag) == (8, 0.5, {"x": 2}, True)
    assert Section.model_validate({"count": "8"}).count == 8
    assert Section.model_validate({"count": "auto"}).count == "auto"
