"""Whose turn it is: of tenants that wait, of a tenant's keys, of a key's tasks, the one that has had least.

Pure and clockless. Fair queueing by start tags, on each of the three levels. A claimant's tag grows with the
cost of what it was let in with; the smallest goes next. One that begins to wait starts where those who wait
are now, or where its own last turn ended: it is not owed for the time it was away, and cannot shed what it
has had by going away. So of two that both wait neither gets more than the other by more than one request of
each, whatever a request costs; deficit round robin promises as much only with a quantum that no single
request exceeds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

MOST_IDLE = 1024
"""Of one group, those that wait no more and are remembered; beyond, whose last turn is past is forgotten."""
FAN_OUT = "\0"
"""After a task's name: calls of pipelines that have begun."""
FAN_OUT_WEIGHT = 2.0
"""Of its own turns a key gives a pipeline's calls one token for each two of what it asks for by itself."""
Whose = tuple[str, str]
"""A tenant and its key."""


def whose_of(tenant: str, key: str) -> Whose:
    """A key without a tenant is one by itself."""
    # No tenant's or task's name holds a NUL.
    return tenant or f"\0{key}", key


def path_of(whose: Whose, task: str, *, fan_out: bool = False) -> tuple[str, ...]:
    """Where a key's requests for a task stand."""
    return (*whose, f"{task}{FAN_OUT}" if fan_out else task)


def weighted(cost: float, *, fan_out: bool) -> float:
    """What it counts among its key's own."""
    return cost * FAN_OUT_WEIGHT if fan_out else cost


class Claimant:
    """A tenant, a key or a task, among others of its kind."""

    __slots__ = ("_within", "among", "name", "outer", "place", "since", "tag", "waiting")

    def __init__(self, name: str, tag: float, among: Claimants, outer: Claimant | None) -> None:
        self.name = name
        self.tag = tag
        self.among = among
        self.outer = outer
        # Made when it is asked for: the innermost, a key's task, has none.
        self._within: Claimants | None = None
        self.waiting = 0
        """Requests of it that wait, in every queue."""
        self.since = 0
        """Who began to wait, or had a turn, before it has a smaller one."""
        self.place: tuple[float, int, int, Claimant] | None = None
        """In the order of those that wait, as that was looked at last."""

    @property
    def within(self) -> Claimants:
        """Those that share its turns."""
        if self._within is None:
            self._within = Claimants()
        return self._within


class Claimants:
    """Every one of a kind that waits, or had its turn a little while ago."""

    __slots__ = ("_active", "_furthest", "_known", "_moved", "_now", "_order", "_times")

    def __init__(self) -> None:
        self._known: dict[str, Claimant] = {}
        self._now = 0.0
        """The tag of who was let in last; while nobody waits, the furthest: then all begin alike."""
        self._furthest = 0.0
        self._active = 0
        self._order: list[tuple[float, int, int, Claimant]] = []
        self._moved: dict[Claimant, None] = {}
        """Those whose place in the order may be another by now."""
        self._times = 0

    @property
    def are_several(self) -> bool:
        """Whether more than one waits."""
        return self._active > 1

    def known(self, name: str) -> Claimant | None:
        """Who is called so, where it has had a turn of late."""
        return self._known.get(name)

    def joins(self, name: str, outer: Claimant | None = None) -> Claimant:
        """One of its requests begins to wait; `leaves` must follow."""
        owner = self._known.get(name)
        if owner is None:
            if len(self._known) > MOST_IDLE + self._active:
                self._forget()
            owner = self._known[name] = Claimant(name, self._now, self, outer)
        if not owner.waiting:
            self._active += 1
            owner.tag = max(owner.tag, self._now)
            self._goes_behind(owner)
        owner.waiting += 1
        self._moved[owner] = None
        return owner

    def leaves(self, owner: Claimant) -> None:
        """One of its requests waits no more."""
        owner.waiting -= 1
        self._moved[owner] = None
        self._active -= not owner.waiting
        if not self._active:
            self._now = self._furthest

    def has_had(self, owner: Claimant, cost: float) -> None:
        """It was given a turn of that cost."""
        # The tag that it began with: who joins meanwhile begins beside it, not behind it.
        self._now = max(self._now, owner.tag)
        owner.tag += cost
        self._furthest = max(self._furthest, owner.tag)
        self._goes_behind(owner)

    def takes_back(self, owner: Claimant, unused: float) -> None:
        """A turn of it cost so much less than was thought; under 0: more."""
        owner.tag -= unused
        self._moved[owner] = None

    def in_order(self) -> Iterator[Claimant]:
        """Those that wait: who has had least goes first; of tenants or keys alike who asks for less, then of
        all who came first. What moves meanwhile does so in the next one.
        """
        self._put_in_order()
        return (place[-1] for place in self._order)

    def _put_in_order(self) -> None:
        for owner in self._moved:
            if owner.place is not None:
                del self._order[bisect_left(self._order, owner.place)]
                owner.place = None
            if owner.waiting:
                asked = owner.waiting if owner._within else 0  # of a key's tasks all ask for that key
                owner.place = owner.tag, asked, owner.since, owner  # no two are of the same time
                insort(self._order, owner.place)
        self._moved.clear()

    def _goes_behind(self, owner: Claimant) -> None:
        """Of those that are alike it is the last."""
        self._times += 1
        owner.since = self._times
        self._moved[owner] = None

    def _forget(self) -> None:
        self._put_in_order()  # which keeps nobody that waits no more
        # Whose tag is past begins at `_now` in any case, known or not.
        self._known = {
            name: owner for name, owner in self._known.items() if owner.waiting or owner.tag > self._now
        }


class Shares:
    """All three levels. What it gives out is the innermost: a key's task."""

    def __init__(self) -> None:
        self.tenants = Claimants()

    def joins(self, path: Sequence[str]) -> Claimant:
        """One of its requests begins to wait; `leaves` must follow."""
        first, *rest = path
        owner = self.tenants.joins(first)
        for name in rest:
            owner = owner.within.joins(name, owner)
        return owner

    def leaves(self, owner: Claimant) -> None:
        """One of its requests waits no more."""
        level: Claimant | None = owner
        while level is not None:
            level.among.leaves(level)
            level = level.outer

    def has_had(self, owner: Claimant, cost: float, innermost: float) -> None:
        """It was given a turn of that cost, which among its key's tasks counts as `innermost`."""
        owner.among.has_had(owner, innermost)
        level = owner.outer
        while level is not None:
            level.among.has_had(level, cost)
            level = level.outer

    def settles(self, path: Sequence[str], unused: float, innermost: float) -> None:
        """One of its requests took so much less of its cost than was thought; under 0: more."""
        among, last = self.tenants, len(path) - 1
        for place, name in enumerate(path):
            level = among.known(name)
            if level is None:
                return
            if place == last:
                return among.takes_back(level, innermost)
            among.takes_back(level, unused)
            among = level.within

    def in_order(self) -> Iterator[Claimant]:
        """Those that wait now, as `Claimants.in_order`, on each level."""
        for tenant in self.tenants.in_order():
            for key in tenant.within.in_order():
                yield from key.within.in_order()


def rank_of(owner: Claimant) -> tuple[float, ...]:
    """To sort a key's tasks by: the first goes next. Of two that have had as much, who asks for less."""
    rank: tuple[float, ...] = (owner.tag,)
    level = owner.outer
    while level is not None:
        rank = (level.tag, level.waiting, *rank)
        level = level.outer
    return rank


def whose_is(owner: Claimant) -> Whose:
    """The tenant and the key of a key's task."""
    key, tenant = owner.outer, owner.outer.outer if owner.outer is not None else None
    return (tenant.name if tenant else "", key.name if key else "")


def contender_of(owner: Claimant) -> Claimant:
    """Of it and those that it stands in, the outermost that shares its turns with others."""
    found, level = owner, owner.outer
    while level is not None:
        if level.among.are_several:
            found = level
        level = level.outer
    return found
