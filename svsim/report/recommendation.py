"""What the rows say, in plain words: nothing here knows more than the rows."""

from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.verdict import price_caveats, verdict_sentences

MAX_NAMES = 4  # of methods in a sentence


def recommend(table: ResultTable) -> list[str]:
    """Sentences: the best method by batch size, where speculation stops paying, what to distrust."""
    return findings(table) + caveats(table)


def findings(table: ResultTable) -> list[str]:
    """Sentences: the best method by batch size, and where speculation stops paying."""
    sentences = []
    for hardware in dict.fromkeys(r.deployment for r in table.rows):
        best = best_by_batch_size(table, hardware)
        rows = [r for r in table.rows if r.deployment == hardware and not r.is_bound]
        among = "" if all(r.lossless for r in rows) else " of the lossless methods"
        sentences += _bands(hardware, best, among) + _faster_but_lossy(table, hardware)
        limit = verdict_sentences(table, hardware)
        if best and not limit and any(r.lossless and r.method != "td" for r in rows):
            limit = _limit_of_speculation(hardware, [row for row, _ in best], "lossless " if among else "")
        sentences += limit
    return sentences


def best_by_batch_size(table: ResultTable, hardware: str) -> list[tuple[ResultRow, bool]]:
    """The fastest row of every batch size in rising order, and whether the intervals settle it.

    Bounds are left out, and methods whose text leaves the target's law; and batch sizes at which fewer than
    two methods of any kind have a goodput.
    """
    best = []
    for cell in _cells(table, hardware):
        choices = [r for r in cell if r.may_be_advised]
        if len(cell) > 1 and choices:
            fastest = max(choices, key=_goodput)
            best.append((fastest, _is_clear(fastest, [r for r in choices if r is not fastest])))
    return best


def _cells(table: ResultTable, hardware: str) -> Iterator[list[ResultRow]]:
    """The methods with a goodput, batch size by batch size."""
    rows = [r for r in table.rows if r.deployment == hardware and not r.is_bound]
    for size in sorted({r.batch_size for r in rows}):
        yield [r for r in rows if r.batch_size == size and r.goodput_tok_s is not None]


def _goodput(row: ResultRow) -> float:
    return row.goodput_tok_s or 0.0


def _is_clear(best: ResultRow, others: Sequence[ResultRow]) -> bool:
    """Whether the intervals allow to call it: above target-only, and apart from all other methods'.

    Those of speedups over one baseline are compared, which is stricter than pairing two methods.
    """
    if best.method == "td":
        return all(o.speedup_vs_td_ci_high is not None and o.speedup_vs_td_ci_high < 1 for o in others)
    if best.speedup_vs_td_ci_low is None or best.speedup_vs_td_ci_low <= 1:
        return False
    rivals = [o for o in others if o.method != "td"]
    if best.sd_baseline is None:
        low, highs = best.speedup_vs_td_ci_low, [o.speedup_vs_td_ci_high for o in rivals]
    else:  # the best fixed length is 1, with certainty
        low = 1.0 if best.method == "sd" else best.speedup_vs_sd_ci_low or 0.0
        highs = [o.speedup_vs_sd_ci_high for o in rivals]
    return all(high is not None and high < low for high in highs)


def bands(best: Sequence[tuple[ResultRow, bool]]) -> list[list[tuple[ResultRow, bool]]]:
    """``best_by_batch_size`` cut into runs of neighbouring batch sizes with the same best method."""
    return [list(run) for _, run in groupby(best, key=lambda entry: entry[0].label)]


def _bands(hardware: str, best: Sequence[tuple[ResultRow, bool]], among: str) -> list[str]:
    """One sentence per run of neighbouring batch sizes with the same best method. among: which were asked."""
    sentences = []
    for band in bands(best):
        rows = [row for row, _ in band]
        first, last = rows[0].batch_size, rows[-1].batch_size
        where = f"batch {first}" if first == last else f"batch {first} to {last}"
        name = "target-only decoding" if rows[0].method == "td" else rows[0].label
        text = f"{hardware}, {where}: {name} is fastest{among}"
        if rows[0].method != "td":
            text += f" ({span_text([r.speedup_vs_td for r in rows])} target-only"
            if rows[0].method != "sd" and rows[0].sd_baseline:
                text += f", {span_text([r.speedup_vs_sd for r in rows])} the best fixed length"
            shares = [r.oracle_gain_share for r in rows if r.oracle_gain_share is not None]
            if shares:
                text += f", {_percent_span(shares)} of the bound's gain"
            text += ")"
        unclear = [str(row.batch_size) for row, clear in band if not clear]
        if unclear:
            text += f"; the intervals do not settle it at batch {', '.join(unclear)}"
        sentences.append(text + ".")
    return sentences


def _faster_but_lossy(table: ResultTable, hardware: str) -> list[str]:
    """The methods that beat every lossless one of the run at the price of the text's law, fastest first."""
    found: dict[str, list[ResultRow]] = {}
    for cell in _cells(table, hardware):
        bar = max((_goodput(r) for r in cell if r.lossless), default=0.0)
        for row in sorted(cell, key=_goodput, reverse=True):
            if not row.lossless and _goodput(row) > bar:
                found.setdefault(row.label, []).append(row)
    if not found:
        return []
    names = [
        f"{label} at batch {', '.join(str(r.batch_size) for r in rows)}"
        f" ({span_text([r.speedup_vs_td for r in rows])} target-only)"
        for label, rows in found.items()
    ]
    more = [f"{len(names) - MAX_NAMES} more methods"] if len(names) > MAX_NAMES else []
    return [f"{hardware}: faster, but not lossless: {'; '.join(names[:MAX_NAMES] + more)}."]


def span_text(values: Sequence[float | None]) -> str:
    """``1.13x`` or ``1.13x to 1.78x``: the known values, smallest to largest."""
    known = [v for v in values if v is not None]
    low, high = min(known), max(known)
    return f"{low:.2f}x" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f}x to {high:.2f}x"


def _percent_span(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low} to {high}"


def _limit_of_speculation(hardware: str, best: Sequence[ResultRow], kind: str) -> list[str]:
    """The batch size from which on target-only decoding wins, if it does at the largest."""
    losing = list(takewhile(_is_no_faster_than_target_only, reversed(best)))
    if not losing:
        low = best[-1].speedup_vs_td_ci_low
        pays = "still pays" if low is None or low > 1 else "neither clearly pays nor loses"
        return [f"{hardware}: {kind}speculation {pays} at batch {best[-1].batch_size}, the largest asked."]
    return [f"{hardware}: {kind}speculation stops paying at batch {losing[-1].batch_size}."]


def _is_no_faster_than_target_only(row: ResultRow) -> bool:
    return row.method == "td" or (row.speedup_vs_td is not None and row.speedup_vs_td <= 1)


def caveats(table: ResultTable) -> list[str]:
    """What the result rests on: provenance of acceptance and step times, approximate rows, lossy text."""
    kind = table.trace.get("acceptance_kind")
    sources = "+".join(dict.fromkeys(s for r in table.rows for s in r.latency_source.split("+")))
    sentences = [f"Acceptance is {kind}, step times are {sources}.", *price_caveats(table)]
    adaptive = [r for r in table.rows if r.method not in ("td", "sd") and not r.is_bound]
    if kind in ("reconstructed", "synthetic") and adaptive:
        names = list(dict.fromkeys(r.method for r in adaptive))
        what = f"{', '.join(names)} {'gain or lose' if len(names) > 1 else 'gains or loses'}"
        if len(names) > MAX_NAMES:
            what = f"the {len(names)} methods beside td and sd gain or lose"
        sentences.append(f"What {what} rests on that {kind} acceptance until a captured trace replaces it.")
    lossy = list(dict.fromkeys(r.label for r in adaptive if not r.lossless))
    if lossy:
        sentences.append(
            f"Not lossless at this sampling: {', '.join(lossy)} (the text leaves the target's law)."
        )
    return sentences + _about_bounds(table)


def _about_bounds(table: ResultTable) -> list[str]:
    """What the bound is that gains are shares of, and which methods are faster than it."""
    bounds = list(dict.fromkeys(r.oracle_bound for r in table.rows if r.oracle_bound))
    if not bounds:
        return []
    sentences = [
        f"The bound is the fastest of the run ({' or '.join(bounds)}): it knows what the target will accept; "
        "its gain is counted over target-only decoding."
    ]
    faster: dict[str, list[str]] = {}
    for row in table.rows:
        if not row.is_bound and row.oracle_gain_share is not None and row.oracle_gain_share > 1:
            faster.setdefault(row.label, []).append(str(row.batch_size))
    if faster:
        found = [f"{label} at batch {', '.join(dict.fromkeys(b))}" for label, b in faster.items()]
        more = [f"{len(found) - MAX_NAMES} more methods"] if len(found) > MAX_NAMES else []
        where = ", ".join(found[:MAX_NAMES] + more)
        remedy = (
            "" if any("draft=exact" in b for b in bounds) else "; --method oracle:draft=exact drafts less"
        )
        sentences.append(
            f"More than 100 % of it is no error ({where}): a bound still waits for the longest draft of the "
            f"batch, and a method may draft less or more cheaply{remedy}."
        )
    return sentences
