"""Selections: how many draft tokens of each sequence are verified, and when that is decided.

Engines ask a ``Selection`` where lengths come from, and for the lengths or the rule; never of which kind
it is. Another way of choosing lengths is one more object.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import Signal
from svsim.decoding.pass_rules import draft_nothing
from svsim.decoding.selection_rules import best_goodput

Lengths = NDArray[np.uint8]


class Plan(IntEnum):
    """Where verification lengths come from."""

    UNIFORM = 0  # K for every sequence
    PLANNED = 1  # looked up per output position
    SELECTED = 2  # the selection rule, every step
    ASKED = 3  # a rule before every draft pass


class Selection(Protocol):
    """How lengths are chosen; what is said here holds unless a selection says otherwise."""

    @property
    def lengths_from(self) -> Plan:
        """The same for all, a column, or a rule every step."""
        return Plan.UNIFORM

    @property
    def stops_draft(self) -> bool:
        """Whether the draft may end before K tokens; then all that is drafted is verified."""
        return False

    @property
    def reads(self) -> tuple[str, ...]:
        """Observable columns that it reads itself, beside a belief's."""
        return ()

    @property
    def knows_target(self) -> bool:
        """A bound, whose survival is the target's own acceptance probability, not the belief's."""
        return False

    @property
    def sees_coins(self) -> bool:
        """A bound that knows what will be accepted."""
        return False

    @property
    def remembers_drafts(self) -> bool:
        """Whether it still knows drafts that it dropped less than K steps ago."""
        return False

    @property
    def rule(self) -> Any:
        """The compiled rule of SELECTED lengths (any one, where none is asked)."""
        return best_goodput

    @property
    def pass_rule(self) -> Any:
        """The compiled rule that is ASKED before every pass (any one, where none is)."""
        return draft_nothing

    @property
    def ask_s(self) -> float:
        """Host seconds of asking it once."""
        return 0.0

    @property
    def options(self) -> tuple[float, ...]:
        """Constants of the rule; behind them stands what the belief has learnt for it."""
        return ()

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Columns of the target's half that hold its own drafts, in the place of the trace's chains; a
        decision knows those of earlier steps alone."""
        return ()

    @property
    def is_exact_when_greedy(self) -> bool:
        """Whether a greedy trace with ``outcomes`` does exactly what a server would."""
        return False

    def planned(
        self, signals: tuple[Signal, ...], accepted: Lengths, num_speculative_tokens: int, first_row: int
    ) -> Lengths:
        """PLANNED lengths, uint8 [T], else empty.

        signals: [T, K] each, the columns it reads; accepted: uint8 [T], for a bound alone; first_row: where
        they begin in the replayed part.
        """
        return np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class VerifyAll(Selection):
    """Verify every drafted token."""


VERIFY_ALL = VerifyAll()


@dataclass(frozen=True, slots=True)
class SelectByRule(Selection):
    """Ask a compiled rule (``selection_rules.RULE``) every step.

    before_draft: the rule decides how long to draft, and all of it is verified. knows_target: a bound,
    whose survival is the target's own acceptance probability; otherwise it comes from the belief.
    remembers_drafts: it still knows drafts that it dropped less than K steps ago.
    """

    rule: Any = best_goodput
    options: tuple[float, ...] = (0.0, 0.0)
    before_draft: bool = False
    knows_target: bool = False
    remembers_drafts: bool = False

    @property
    def lengths_from(self) -> Plan:
        """The rule."""
        return Plan.SELECTED

    @property
    def stops_draft(self) -> bool:
        """Where it decides before the draft."""
        return self.before_draft


@dataclass(frozen=True, slots=True)
class AskEveryPass(Selection):
    """Ask a compiled rule (``pass_rules.PASS_RULE``) before every draft pass, and what to verify.

    Its codes of laws and tokens are those of a belief that has them (``CodedBelief``).
    """

    pass_rule: Any
    options: tuple[float, ...] = ()
    ask_s: float = 0.0

    @property
    def lengths_from(self) -> Plan:
        """The rule."""
        return Plan.ASKED

    @property
    def stops_draft(self) -> bool:
        """Always; what is drafted need not all be verified."""
        return True


@dataclass(frozen=True, slots=True)
class PlanBySignals(Selection):
    """A length per output position, read off the signals there; no batch, no prices, no memory.

    plan(signals [T, K] each) -> uint8 [T]. stops_draft: the draft ends there, and
    all of it is verified; otherwise K tokens are drafted. tosses_coins: plan(signals, first_row), with
    coins that belong to the rows of the replayed part.
    """

    signals: tuple[str, ...]
    plan: Callable[..., Lengths]
    stops_draft: bool = False
    tosses_coins: bool = False

    @property
    def lengths_from(self) -> Plan:
        """The plan."""
        return Plan.PLANNED

    @property
    def reads(self) -> tuple[str, ...]:
        """Its signals."""
        return self.signals

    def planned(
        self, signals: tuple[Signal, ...], accepted: Lengths, num_speculative_tokens: int, first_row: int
    ) -> Lengths:
        """Verification lengths of the rows ``first_row`` on, uint8 [T]."""
        return self.plan(signals, first_row) if self.tosses_coins else self.plan(signals)


@dataclass(frozen=True, slots=True)
class OraclePlan(Selection):
    """A bound: verify exactly what will be accepted; ``drafts_exactly`` also drafts only that."""

    drafts_exactly: bool = False

    @property
    def lengths_from(self) -> Plan:
        """The answer, known beforehand."""
        return Plan.PLANNED

    @property
    def stops_draft(self) -> bool:
        """Where it drafts exactly that."""
        return self.drafts_exactly

    @property
    def sees_coins(self) -> bool:
        """Always."""
        return True

    def planned(
        self, signals: tuple[Signal, ...], accepted: Lengths, num_speculative_tokens: int, first_row: int
    ) -> Lengths:
        """Verification length per position from the target's own answer, uint8 [T]."""
        return np.minimum(accepted, num_speculative_tokens).astype(np.uint8)
