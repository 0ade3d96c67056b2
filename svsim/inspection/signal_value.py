"""What the signals are worth: bits about acceptance, and the goodput that they buy.

Every belief drives the same selection (Speculative Verification's), on the same requests and coins. Between
a belief that knows the mean only and the target's own acceptance probability lies all that a signal can be
worth; what the companion costs for its two is counted apart.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from svsim.decoding.beliefs import BinnedBelief
from svsim.decoding.drafters import MODEL, Drafter
from svsim.decoding.method import DecodingMethod, SelectByRule
from svsim.decoding.presets import fixed_length, target_only
from svsim.decoding.selection_rules import best_goodput
from svsim.engines.belief_error import with_belief_error
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import PreparedRun, RunSettings, prepare
from svsim.errors import InputError
from svsim.inspection.held_out import BELIEFS, COMPANION, information_of, new_belief
from svsim.metrics.bootstrap import goodput_tok_s, interval, resampled_goodput
from svsim.metrics.information import Information
from svsim.metrics.request_sums import Estimate
from svsim.metrics.signal_values import SignalValues, ValueRow
from svsim.progress import OnProgress
from svsim.records import RunRecord
from svsim.trace.parts import Source
from svsim.trace.sample import sample_requests
from svsim.version import __version__

MEAN_ONLY, PERFECT = "mean only", "acceptance itself"
LONGEST_FIXED = 16


def value_of_signals(
    source: Source,
    settings: RunSettings,
    deployments: Sequence[Deployment],
    k: int,
    file: str | None,
    drafter: Drafter | None = None,
    progress: OnProgress | None = None,
) -> SignalValues:
    """All of ``SignalValues``; the methods of ``settings`` are chosen here.

    Raises InputError for a trace without signals or without ``accept_prob``.
    """
    notes: list[str] = []
    sample = sample_requests(source)
    information = information_of(sample, settings.profile_split, settings.seed, notes)
    if information is None:
        raise InputError(f"nothing to value: {notes[0]}; record a trace with svsim capture")
    if "accept_prob" not in source.target_columns:
        raise InputError(
            "the value of signals is measured against the acceptance probability, and this trace lacks the "
            "column accept_prob; record one with svsim capture"
        )
    methods = _methods([belief.name for belief in information.beliefs], k)
    fixed = [fixed_length(n) for n in range(1, min(k, LONGEST_FIXED) + 1)]
    drafting = (method.with_drafter(drafter or MODEL) for method in (*fixed, *methods))
    run = replace(settings, methods=(target_only(), *drafting))
    prepared = prepare(source, run, deployments)
    records = ClosedLoopReplay(prepared).run(progress)
    records = with_belief_error(records, prepared)
    return SignalValues(
        __version__,
        tuple(_rows(prepared, records, information, settings.seed)),
        information,
        {"file": file, **asdict(source.metadata)},
        {
            "k": k,
            "batch_sizes": list(prepared.settings.batch_sizes),
            "deployments": [d.name for d in deployments],
            "profile_split": settings.profile_split,
            "seed": settings.seed,
        },
        (*prepared.notes, *notes),
    )


def _methods(beliefs: Sequence[str], k: int) -> list[DecodingMethod]:
    """Every belief with its signals for nothing, and once more with the companion where it is needed."""
    anything = BELIEFS[beliefs[0]][0]

    def method(belief: str, learnt: BinnedBelief | None, pays: bool) -> DecodingMethod:
        params = {"belief": belief, "companion": "paid" if pays else "free"}
        selection = SelectByRule(best_goodput, knows_target=learnt is None)
        return DecodingMethod("value", k, selection, belief=learnt, uses_companion=pays, params=params)

    made = [
        method(MEAN_ONLY, BinnedBelief((anything,), num_rows=1), False),
        method(PERFECT, None, False),
    ]
    for name in beliefs:
        made += [method(name, new_belief(BELIEFS[name]), pays) for pays in {False, _needs_companion(name)}]
    return made


def _needs_companion(belief: str) -> bool:
    return bool(set(BELIEFS[belief]) & set(COMPANION))


def _rows(
    prepared: PreparedRun, records: Sequence[RunRecord], information: Information, seed: int
) -> list[ValueRow]:
    known = {belief.name: belief for belief in information.beliefs}
    size = len(prepared.methods)
    cells = [records[i : i + size] for i in range(0, len(records), size)]
    places = [(d, b) for d in prepared.deployments for b in prepared.settings.batch_sizes]
    rows = []
    for (deployment, batch_size), cell in zip(places, cells, strict=True):
        best_fixed = max((r for r in cell if r.method == "sd"), key=goodput_tok_s)
        of = {(r.params["belief"], r.params["companion"]): r for r in cell if r.method == "value"}
        mean_only, perfect = of[MEAN_ONLY, "free"], of[PERFECT, "free"]
        room = goodput_tok_s(perfect) - goodput_tok_s(mean_only)
        for name in (MEAN_ONLY, *known, PERFECT):
            free, paid = of[name, "free"], of.get((name, "paid"))
            gain = goodput_tok_s(free) - goodput_tok_s(mean_only)
            belief = known.get(name)
            rows.append(
                ValueRow(
                    name,
                    BELIEFS.get(name, ()),
                    deployment.name,
                    batch_size,
                    belief.gain_bits if belief else information.ceiling_bits if name == PERFECT else None,
                    belief.share_of_ceiling if belief else None,
                    goodput_tok_s(free),
                    _ratio(free, mean_only, seed),
                    gain / room if room > 1e-3 * goodput_tok_s(mean_only) else None,
                    goodput_tok_s(paid) if paid else None,
                    _ratio(paid or free, best_fixed, seed),
                    best_fixed.label,
                )
            )
    return rows


def _ratio(record: RunRecord, base: RunRecord, seed: int) -> Estimate:
    mine, theirs = resampled_goodput(record, seed), resampled_goodput(base, seed)
    paired = None if mine is None or theirs is None else mine / theirs
    return Estimate(goodput_tok_s(record) / goodput_tok_s(base), *interval(paired))
