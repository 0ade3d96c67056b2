"""Which replica serves a request: decided once, when it arrives.

``round-robin``: one after another. ``least-loaded``: the replica with the fewest requests that run or wait;
ties go to the lowest number. Replicas that are down get none.

A router that looks at loads is one compiled function ``rule(loads, is_up) -> replica``: int64 [R] requests
that run or wait in each replica (a step that runs still holds what it will finish), bool [R] which are up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numba import types
from numpy.typing import NDArray

from svsim.compiled import Entry, compiled
from svsim.errors import InputError, printable

LOAD_RULE = types.int64(types.Array(types.int64, 1, "C"), types.Array(types.boolean, 1, "C"))


@compiled(LOAD_RULE)
def fewest_requests(loads, is_up):  # type: ignore[no-untyped-def]
    """The first of the least loaded."""
    best = -1
    for i in range(loads.size):
        if is_up[i] and (best < 0 or loads[i] < loads[best]):
            best = i
    return best


class Router(Protocol):
    """Either a ``rule`` over loads, or ``route``: replicas (of those that are up) for the next arrivals."""

    rule: Entry | None

    def route(self, up: Sequence[int], num_arrivals: int) -> NDArray[np.int64]: ...


@dataclass(slots=True)
class RoundRobin:
    """One after another."""

    rule: Entry | None = field(default=None, init=False)
    _turn: int = 0

    def route(self, up: Sequence[int], num_arrivals: int) -> NDArray[np.int64]:
        """The next ones that are up."""
        turns = self._turn + np.arange(num_arrivals)
        self._turn += num_arrivals
        return np.asarray(up, np.int64)[turns % len(up)]


@dataclass(slots=True)
class LeastLoaded:
    """The one with the fewest requests."""

    rule: Entry | None = field(default=fewest_requests, init=False)

    def route(self, up: Sequence[int], num_arrivals: int) -> NDArray[np.int64]:
        """Where only one is up."""
        return np.full(num_arrivals, up[0], np.int64)


ROUTERS: dict[str, type[RoundRobin] | type[LeastLoaded]] = {
    "round-robin": RoundRobin,
    "least-loaded": LeastLoaded,
}


def router_named(name: str) -> Router:
    """A new router; InputError lists the known ones."""
    if name not in ROUTERS:
        raise InputError(f"`router` {printable(name, 40)} is unknown; choose one of {', '.join(ROUTERS)}")
    return ROUTERS[name]()
