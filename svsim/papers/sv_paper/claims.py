"""What the paper says, each claim with a verdict that the numbers of this run decide."""

from collections.abc import Callable, Iterator, Sequence

from svsim.papers.rows import Verdict
from svsim.papers.sv_paper import goodput_claims, overlap_claims, table_claims
from svsim.papers.sv_paper.verdicts import Claim, Evidence

_CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    goodput_claims.rejected,
    goodput_claims.slow_steps,
    goodput_claims.sv_over_sd,
    goodput_claims.never_slower,
    goodput_claims.longer_drafts,
    goodput_claims.variants_of_sd,
    overlap_claims.overlap,
    table_claims.companion_compute,
    table_claims.companion_memory,
    table_claims.prefill,
    table_claims.verification_saved,
    table_claims.table_3_is_consistent,
    table_claims.fairness,
    table_claims.resolution,
    table_claims.positive_gain,
    table_claims.overlap_correlation,
    table_claims.lossless,
    table_claims.text_repeats_tables,
)


def judge_claims(evidence: Evidence) -> tuple[Claim, ...]:
    """Every claim, in the order of the page."""
    return tuple(claim(evidence) for claim in _CLAIMS)


def verdict_counts(claims: Sequence[Claim]) -> Iterator[tuple[Verdict, int]]:
    """How many claims have each verdict."""
    for verdict in Verdict:
        yield verdict, sum(claim.verdict is verdict for claim in claims)
