"""When two words are the same word."""

from __future__ import annotations

import pytest

from gateway.pipeline.settling.spelling import folded


@pytest.mark.parametrize(
    ("one", "other"),
    [("Café", "CAFE\u0301"), ("ﬁsh", "FISH"), ("a  b\n", "A b"), ("ß", "SS"), ("Å", "\u212b")],
)
def test_case_form_and_white_space_make_no_other_word(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(("one", "other"), [("car", "carpet"), ("cafe", "café"), ("car park", "carpark")])
def test_letters_do(one: str, other: str) -> None:
    assert folded(one) != folded(other)
