"""What is promised without Redis stands once in the code, and in the documentation as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.agreement.policies import MEMBER_ALIVE_S, POLICIES, SAY_AGAIN_S, Policy

PAGE = Path(__file__).parents[4] / "docs" / "several-gateways.md"


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.what)
def test_the_page_has_each_policy_as_it_is(policy: Policy) -> None:
    row = f"| {policy.what} | {policy.there} | {policy.away} | {policy.back} |"
    assert row in PAGE.read_text(encoding="utf-8")


def test_a_gateway_that_lives_is_heard_several_times_before_it_counts_as_dead() -> None:
    assert MEMBER_ALIVE_S >= 4 * SAY_AGAIN_S
