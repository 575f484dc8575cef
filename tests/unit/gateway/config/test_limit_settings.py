"""Bounds of a key, a tenant or a task: what is not named is not bounded."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config.limit_settings import LimitConfig

BOUNDS = ("requests_per_minute", "tokens_per_minute", "max_in_flight", "tokens_per_day", "tokens_per_month")


def test_each_bound_alone_bounds_and_the_rest_does_not() -> None:
    assert not LimitConfig.model_validate({"on_limit": "wait", "max_wait_s": 5}).bounds_anything
    for name in BOUNDS:
        assert LimitConfig.model_validate({name: 1}).bounds_anything, name


@pytest.mark.parametrize(
    "given", [{name: 0} for name in BOUNDS] + [{"on_limit": "later"}, {"max_wait_s": 0}, {"per_hour": 1}]
)
def test_what_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LimitConfig.model_validate(given)
