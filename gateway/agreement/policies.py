"""What gateways agree on through Redis, and what holds for each of it while Redis is not there."""

from __future__ import annotations

from dataclasses import dataclass

MEMBER_ALIVE_S = 5.0
"""After so long without a word from a gateway the requests that it had at once count no more."""
SAY_AGAIN_S = 1.0
"""A gateway says that it lives, and what it has at once, as often as that."""
PROBE_S = 0.5
"""Between two tries to reach Redis while it is away."""
LOOK_S = 1.0
"""Between two looks at the table's version, so that a message that was lost mends itself."""


@dataclass(frozen=True)
class Policy:
    """One row of the table in docs/several-gateways.md."""

    what: str
    there: str
    """While Redis answers within `timeout_ms`."""
    away: str
    """While it is slower than that, gone, frozen or cut off."""
    back: str
    """Once it answers again; restarted empty too."""


POLICIES: tuple[Policy, ...] = (
    Policy(
        "requests and tokens a minute",
        "never more than the limit: what a gateway takes for its next requests is gone for the others",
        "each machine by itself, up to the limit: nobody who keeps to it is refused",
        "what each has used is told, and taken from the minute, at most once a whole limit",
    ),
    Policy(
        "requests at once",
        "never more than the limit; a gateway that dies, or stands still for 5 s, holds none after that",
        "each machine by itself, up to the limit",
        "within 1 s all say what they have",
    ),
    Policy(
        "tokens of a day and a month",
        "never more than the budget, but for answers longer than what was reserved for them",
        "each machine by itself: it refuses when it has used the whole budget alone",
        "what each has used is added; an emptied server learns what gateways knew last",
    ),
    Policy(
        "revoked keys, where the table comes through Redis",
        "refused at once; where the message is lost, within a second",
        "a key that was good stays good: a gateway that is cut off cannot know",
        "refused within 2 s",
    ),
    Policy(
        "the table, where it comes through Redis",
        "each change at once, or within a second; never an older one",
        "the last one goes on; a gateway that is started meanwhile has none and is not ready",
        "within 2 s; the control plane writes it anew into an empty server",
    ),
    Policy(
        "adapters to be unloaded",
        "when every gateway has said that nothing of it is in flight",
        "the control plane waits for gateways it cannot hear, 120 s at most",
        "who reports within 5 s counts as having been there",
    ),
    Policy(
        "who leads of several control planes, with `shared.folder`",
        "one; where it has said nothing for 4 s another takes over, and it changes nothing more",
        "who leads goes on, and what it changes is kept; nobody takes over",
        "within 1 s as before; an emptied server hears of the leader before another may begin",
    ),
    Policy(
        "batches, with `shared.folder`",
        "one gateway runs them; another goes on within 2 s of its end, 10 s where it stands still or its "
        "machine is gone",
        "the same: who runs them stands beside them in the folder",
        "nothing to make good",
    ),
)
