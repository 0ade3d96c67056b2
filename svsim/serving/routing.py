"""Which replica serves a request: decided once, when it arrives.

``round-robin``: one after another. ``least-loaded``: the replica with the fewest requests that run or wait;
ties go to the lowest number. Replicas that are down get none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from svsim.errors import InputError, printable


class Router(Protocol):
    """``route`` picks one of the replicas that are up; ``loads``: requests in each of these.

    needs_loads: whether loads are to be known at every arrival (replicas then stop there).
    """

    needs_loads: bool

    def route(self, replicas: Sequence[int], loads: Sequence[int]) -> int: ...


@dataclass(slots=True)
class RoundRobin:
    """One after another."""

    needs_loads: bool = field(default=False, init=False)
    _turn: int = -1

    def route(self, replicas: Sequence[int], loads: Sequence[int]) -> int:
        """The next one that is up."""
        self._turn += 1
        return replicas[self._turn % len(replicas)]


@dataclass(slots=True)
class LeastLoaded:
    """The one with the fewest requests."""

    needs_loads: bool = field(default=True, init=False)

    def route(self, replicas: Sequence[int], loads: Sequence[int]) -> int:
        """The first of the least loaded."""
        return replicas[min(range(len(replicas)), key=lambda i: loads[i])]


ROUTERS: dict[str, type[RoundRobin] | type[LeastLoaded]] = {
    "round-robin": RoundRobin,
    "least-loaded": LeastLoaded,
}


def router_named(name: str) -> Router:
    """A new router; InputError lists the known ones."""
    if name not in ROUTERS:
        raise InputError(f"`router` {printable(name, 40)} is unknown; choose one of {', '.join(ROUTERS)}")
    return ROUTERS[name]()
