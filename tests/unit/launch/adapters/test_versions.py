"""What commands make of a task: versions, weights, the way back."""

from __future__ import annotations

import pytest

from launch.adapters.versions import (
    Refused,
    Version,
    Wanted,
    add_version,
    ids_of,
    overlaid,
    promote,
    remove_version,
    rollback,
    without_previous,
)

OLD, NEW = Version("naming@1", "/1"), Version("naming@2", "/2")
TASK = Wanted("naming", (OLD,))


def weights(wanted: Wanted) -> dict[str, float]:
    return {version.id: version.weight for version in wanted.versions}


def test_added_version_takes_over_and_the_old_one_stays_for_a_rollback() -> None:
    after = add_version(TASK, NEW, 5.0)
    assert weights(after) == {"naming@1": 0.0, "naming@2": 100.0}
    assert (after.previous, after.changed_at) == ("naming@1", 5.0)
    assert weights(rollback(after, 6.0)) == {"naming@1": 100.0, "naming@2": 0.0}


def test_rollback_twice_is_where_it_began() -> None:
    after = add_version(TASK, NEW, 1.0)
    again = rollback(rollback(after, 2.0), 3.0)
    assert weights(again) == weights(after)


def test_canary_shares_and_promote_ends_it() -> None:
    canary = add_version(TASK, NEW, 1.0, canary=10.0)
    assert weights(canary) == {"naming@1": 90.0, "naming@2": 10.0}
    assert canary.candidate is not None
    assert canary.candidate.id == "naming@2"
    done = promote(canary, None, 2.0)
    assert weights(done) == {"naming@1": 0.0, "naming@2": 100.0}
    assert done.previous == "naming@1"


def test_rollback_of_a_canary_drops_it() -> None:
    after = rollback(add_version(TASK, NEW, 1.0, canary=60.0), 2.0)
    assert weights(after) == {"naming@1": 100.0}


def test_canary_over_half_is_still_the_candidate() -> None:
    canary = add_version(TASK, NEW, 1.0, canary=60.0)
    assert weights(promote(canary, "naming@2", 2.0))["naming@2"] == 100.0


def test_shadow_answers_nobody_until_it_is_promoted() -> None:
    shadow = add_version(TASK, NEW, 1.0, shadow=0.05)
    assert weights(shadow) == {"naming@1": 100.0, "naming@2": 0.0}
    assert (shadow.shadow, shadow.shadow_share) == ("naming@2", 0.05)
    done = promote(shadow, None, 2.0)
    assert weights(done)["naming@2"] == 100.0
    assert done.shadow is None


def test_second_candidate_is_refused() -> None:
    canary = add_version(TASK, NEW, 1.0, canary=10.0)
    with pytest.raises(Refused, match="has the candidate naming@2 already"):
        add_version(canary, Version("naming@3", "/3"), 2.0)


def test_same_content_again_is_refused_and_nothing_changes() -> None:
    with pytest.raises(Refused, match="is the active version") as refused:
        add_version(TASK, OLD, 1.0)
    assert refused.value.code == "unchanged"


def test_first_version_of_a_task_cannot_be_a_canary() -> None:
    with pytest.raises(Refused, match="no active version"):
        add_version(Wanted("new"), NEW, 1.0, canary=10.0)


def test_third_version_lets_the_first_go() -> None:
    third = add_version(add_version(TASK, NEW, 1.0), Version("naming@3", "/3"), 2.0)
    assert weights(third) == {"naming@2": 0.0, "naming@3": 100.0}


def test_version_that_answers_cannot_be_removed() -> None:
    after = add_version(TASK, NEW, 1.0)
    with pytest.raises(Refused, match=r"answers 100 % of 'naming'"):
        remove_version(after, "naming@2", 2.0)
    kept = remove_version(after, "naming@1", 2.0)
    assert kept is not None
    assert (weights(kept), kept.previous) == ({"naming@2": 100.0}, None)


def test_last_version_takes_the_task_with_it() -> None:
    assert remove_version(TASK, "naming@1", 1.0) is None
    assert remove_version(TASK, None, 1.0) is None


def test_unknown_version_is_404_and_names_the_known() -> None:
    with pytest.raises(Refused, match="it has: naming@1") as refused:
        remove_version(TASK, "naming@9", 1.0)
    assert refused.value.status == 404


def test_nothing_to_promote_or_go_back_to_is_said() -> None:
    with pytest.raises(Refused, match="no candidate to promote"):
        promote(TASK, None, 1.0)
    with pytest.raises(Refused, match="no earlier version"):
        rollback(TASK, 1.0)


def test_without_previous_keeps_what_answers_or_shadows() -> None:
    assert weights(without_previous(add_version(TASK, NEW, 1.0))) == {"naming@2": 100.0}


def test_commands_win_over_the_configuration_until_reset() -> None:
    configured = {"naming": TASK, "concept": Wanted("concept", (Version("concept@1", "/c"),))}
    changed = add_version(TASK, NEW, 1.0)
    desired = overlaid(configured, [changed], ["concept"])
    assert ids_of(desired) == {"naming@1", "naming@2"}
