"""What of the gateway is shown to whom."""

from __future__ import annotations

from gateway.admission.api_keys import ANYBODY, Principal
from gateway.ui.visible import Sight
from tests.unit.gateway.metrics.test_recent import request

ADMIN = Sight(Principal("boss", role="admin"))
WHOLE = Sight(Principal("whole"))
OPERATOR = Sight(Principal("op", frozenset({"naming"}), role="operator", tenant="acme"))
USER = Sight(Principal("user", frozenset({"naming"})))
NOBODY = Sight(ANYBODY)


def test_an_admin_sees_everything_and_so_does_anybody_without_keys() -> None:
    assert [one.everything for one in (ADMIN, NOBODY, WHOLE, OPERATOR, USER)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert [one.reasons for one in (ADMIN, NOBODY, WHOLE, OPERATOR, USER)] == [True, True, True, False, False]


def test_an_operator_rules_its_tenants_tasks_alone() -> None:
    for task, rules, sees in (("acme.x", True, True), ("naming", False, True), ("acmex", False, False)):
        assert (OPERATOR.rules(task), OPERATOR.sees(task)) == (rules, sees), task
    assert not WHOLE.rules("naming")
    assert WHOLE.sees("naming")
    assert (USER.sees("naming"), USER.sees("concept")) == (True, False)


def test_requests_are_ones_own_and_those_of_ones_tasks() -> None:
    other = request(1.0)
    assert [one.sees_request(other) for one in (ADMIN, NOBODY, WHOLE, OPERATOR, USER)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    mine = Sight(Principal("k", frozenset()))
    assert mine.sees_request(other)
    assert OPERATOR.sees_request(request(1.0, "acme.x"))
    assert not OPERATOR.sees_request(request(1.0, ""))
