"""Reproduced systems as plain tables: all with their score, and the rows of one."""

from svsim.papers.reproduction import SystemResult, SystemsResult
from svsim.papers.rows import ReproductionRow
from svsim.report.formats import DASH, number
from svsim.report.plain_table import PlainTable

SCORE_HEADS = (
    *("system", "what", "confirmed", "not", "not testable", "mean error", "largest"),
    "predicted from",
)
ROW_HEADS = ("setting", "metric", "published", "predicted", "error", "role", "verdict", "why")
VERDICT_COLUMN = ROW_HEADS.index("verdict")
SENTENCES = frozenset({"why", "predicted from"})  # columns of sentences: they wrap
WORDS = frozenset({"role", "verdict"}) | SENTENCES
SV_PAPER_LINE = (
    "sv-paper (Speculative Verification, arXiv 2509.24328) is judged claim by claim: svsim reproduce sv-paper"
)


def scores_table(found: SystemsResult) -> PlainTable:
    """One row per system: verdicts of what was predicted, and errors."""
    return PlainTable(
        "Published systems against their own numbers",
        "Verdicts on predicted rows only; rows that a law was calibrated on, or that it takes as they are, "
        "are never counted. Errors of rows with a verdict.",
        SCORE_HEADS,
        [_score_cells(system) for system in found.systems],
        2,
    )


def _score_cells(found: SystemResult) -> list[str]:
    score = found.score
    counts = (score.confirmed, score.not_confirmed, score.not_testable)
    errors = (score.mean_error, score.largest_error)
    return [
        found.system.name,
        found.system.title,
        *map(str, counts),
        *(number(error, ".1%") for error in errors),
        found.system.law,
    ]


def rows_table(found: SystemResult) -> PlainTable:
    """Every row of a system."""
    return PlainTable(
        f"{found.system.title} ({found.system.name})",
        f"From {found.system.paper}. Law: {found.system.law}.",
        ROW_HEADS,
        [row_cells(row) for row in found.rows],
        2,
    )


def row_cells(row: ReproductionRow) -> list[str]:
    """A row as words."""
    return [
        row.setting,
        row.metric,
        value(row.published),
        value(row.predicted),
        number(row.error, "+.1%"),
        str(row.role),
        str(row.verdict),
        row.reason,
    ]


def value(x: float | None) -> str:
    """Four significant digits, whole numbers as they are."""
    if x is None:
        return DASH
    return f"{x:,.0f}" if float(x).is_integer() and abs(x) < 1e9 else f"{x:,.4g}"


def score_line(found: SystemResult) -> str:
    """``5 confirmed, 1 not confirmed, 2 not testable; mean error 2.1 %, largest 6.5 %.``"""
    score = found.score
    counts = (
        f"{score.confirmed} confirmed, {score.not_confirmed} not confirmed, {score.not_testable} not testable"
    )
    if score.mean_error is None or score.largest_error is None:
        return f"{counts}."
    return f"{counts}; mean error {score.mean_error:.1%}, largest {score.largest_error:.1%}."
