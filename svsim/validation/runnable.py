"""Which methods are really run here: drafts of a fixed length by a model's passes, one step at a time."""

from collections.abc import Collection, Sequence

from svsim.decoding.acceptances import AS_RECORDED
from svsim.decoding.drafters import MODEL
from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import SERIAL
from svsim.decoding.ranges import parse_methods
from svsim.decoding.selections import Plan
from svsim.errors import InputError
from svsim.latency.shape import Role
from svsim.trace.parts import Source


def check_runs(method: DecodingMethod, roles: Collection[Role], *, live: bool = False) -> None:
    """InputError, saying why, for a method that cannot be run with models of these roles.

    live: lengths come from the signals of this very step, so a plan read off a trace will not do.
    """
    needed = [Role.DRAFT] * (method.num_speculative_tokens > 0) + [Role.COMPANION] * method.uses_companion
    missing = [role for role in needed if role not in roles]
    lengths_from = method.selection.lengths_from
    reasons = {
        "is a bound that no machine can run": method.is_bound,
        f"needs a {''.join(missing[:1])} model": bool(missing),
        "drafts in another way than by passes of a model": method.drafter != MODEL,
        "lets two models take turns, and one target is run here": method.switching is not None,
        "overlaps drafting with verification": method.pipeline != SERIAL,
        "ends its draft early, and k tokens are always drafted here": method.stops_draft,
        "accepts other tokens than the target does": method.acceptance != AS_RECORDED,
        "plans from a recorded trace": live and lengths_from is Plan.PLANNED,
        "selects without a companion": live and lengths_from is Plan.SELECTED and not method.uses_companion,
    }
    for reason, holds in reasons.items():
        if holds:
            remedy = "name one" if missing and not method.is_bound else "leave it out"
            raise InputError(f"{method.label} {reason}; {remedy}")


def runnable_methods(
    texts: Sequence[str], source: Source, roles: Collection[Role], *, live: bool = False
) -> tuple[DecodingMethod, ...]:
    """Methods by name, each checked. Raises MethodError or InputError."""
    limit = source.metadata.num_speculative_tokens
    methods = tuple(parse_methods(texts, limit, source.signals))
    for method in methods:
        check_runs(method, roles, live=live)
    return methods
