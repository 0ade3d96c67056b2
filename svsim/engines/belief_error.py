"""How far goodput moves with the requests a belief was learnt on: part of the intervals, if these are few."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from svsim.decoding.acceptance_rules import RecordedCoins
from svsim.engines.profile import learns
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import PreparedRun
from svsim.records import RunRecord

Engine = Callable[[PreparedRun], list[RunRecord]]
Key = tuple[str, str, int]


def replay_once(prepared: PreparedRun) -> list[RunRecord]:
    """Every request a single time: enough to see how far goodput moves, for either engine."""
    return ClosedLoopReplay(prepared, max_cycles=1).run()


def with_belief_error(
    records: Sequence[RunRecord], prepared: PreparedRun, engine: Engine = replay_once
) -> list[RunRecord]:
    """The records, ``belief_error`` filled in for methods that learnt on a small profile part.

    It is the relative standard deviation of goodput between the run's refits, each run by ``engine`` on
    the recorded coins. Resamples of n requests vary less than n fresh ones, by (n - 1) / n.
    """
    num_requests = prepared.num_small_profile_requests
    if num_requests is None:
        return list(records)
    settings = replace(prepared.settings, coins=RecordedCoins())
    goodputs: dict[Key, list[float]] = {}
    for methods in prepared.refits:
        for record in engine(replace(prepared, methods=methods, settings=settings)):
            goodputs.setdefault(_key(record), []).append(_goodput_tok_s(record))
    unlike = math.sqrt(num_requests / (num_requests - 1)) if num_requests > 1 else math.inf
    errors = {key: unlike * float(np.std(g, ddof=1) / np.mean(g)) for key, g in goodputs.items()}
    learning = {m.label for m in prepared.methods if learns(m)}
    return [
        replace(r, belief_error=errors.get(_key(r), math.inf)) if r.label in learning else r for r in records
    ]


def _key(record: RunRecord) -> Key:
    return record.label, record.deployment, record.batch_size


def _goodput_tok_s(record: RunRecord) -> float:
    return float(record.sums.emitted_tokens.sum() / record.sums.seconds.sum())
