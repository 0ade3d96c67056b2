"""``svsim info`` on the terminal: what a trace holds, how acceptance lies in it, what its signals are worth."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.metrics.information import Information, PaperGain
from svsim.metrics.request_sums import Estimate
from svsim.metrics.trace_checks import Check
from svsim.metrics.trace_information import Sizes, TokenCounts, TraceInformation

MAX_DEPTHS = 16  # rows of the acceptance table; deeper ones are in the JSON
BAR_CELLS = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MARKS = {True: "[green]✓[/green]", False: "[bold red]✗[/bold red]", None: "[dim]–[/dim]"}


def print_information(information: TraceInformation, console: Console) -> None:
    """Provenance, sizes, acceptance, information, checks, notes; one table each."""
    _print_provenance(information, console)
    _print_sizes(information.sizes, console)
    console.print(_acceptance_table(information))
    _print_course(information, console)
    if information.information is not None:
        console.print(_belief_table(information.information))
        _print_overlaps(information.information, console)
        if information.information.paper:
            console.print(_paper_table(information.information.paper))
    console.print(_check_table(information.checks))
    for note in information.notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)


def _table(title: str, left: int, headings: Sequence[str]) -> Table:
    """A plain table; its first ``left`` columns are words, the others numbers."""
    view = Table(title=f"\n{title}", title_justify="left", title_style="", header_style="bold", box=None,
                 pad_edge=False)  # fmt: skip
    for place, heading in enumerate(headings):
        view.add_column(heading, justify="left" if place < left else "right")
    return view


def _print_provenance(information: TraceInformation, console: Console) -> None:
    trace = information.trace
    models = trace["models"]
    names = [str(m.get("name")) for m in (models.get(r) for r in ("target", "draft", "companion")) if m]
    head = escape(printable(trace["file"] or "trace", 100))
    console.print(f"[bold]{head}[/bold]  {trace['acceptance_kind']} acceptance, {trace['chains']} chains",
                  highlight=False)  # fmt: skip
    sampling = ", ".join(f"{key} {value}" for key, value in trace["sampling"].items())
    facts = {
        "models": " / ".join(names),
        "sampling": sampling,
        "data": trace["dataset"],
        "hardware": trace["hardware"],
        "made": " by ".join(str(part) for part in (trace["date"], trace["command"]) if part),
        "notice": trace["extra"].get("notice"),
    }
    for name, value in facts.items():
        if value:
            console.print(f"  {name:9} {escape(printable(value, 300))}", highlight=False)


def _print_sizes(sizes: Sizes, console: Console) -> None:
    lines = {
        "size": f"{sizes.num_requests:,} requests, {sizes.num_positions:,} output positions, "
        f"K = {sizes.num_speculative_tokens} draft tokens each",
        "tokens": f"prompt {_counts(sizes.prompt_tokens)}; output {_counts(sizes.output_tokens)}",
        "signals": ", ".join(sizes.signals) or "none",
        "target": ", ".join(sizes.target_columns),
        "steps": ", ".join(sizes.step_times) or "no step times",
    }
    for name, value in lines.items():
        console.print(f"  {name:9} {escape(printable(value, 300))}", highlight=False)
    if not sizes.tasks:
        return
    view = _table("Tasks", 1, ("task", "requests", "positions", "first token accepted", "tok/step of SD(K)"))
    for task in sizes.tasks:
        view.add_row(
            escape(printable(task.task, 40)),
            f"{task.num_requests:,}",
            f"{task.num_positions:,}",
            _percent(task.first_token_acceptance),
            _number(task.mean_acceptance_length),
        )
    console.print(view)


def _counts(counts: TokenCounts) -> str:
    return f"{counts.mean:,.0f} on average ({counts.least:,} to {counts.most:,}, median {counts.median:,.0f})"


def _acceptance_table(information: TraceInformation) -> Table:
    """Depth d and fixed length k share a row: what depth d adds, and what verifying up to it brings."""
    slow = {(s.k, s.batch_size): s.slow_share for s in information.slow_steps}
    batches = sorted({batch for _, batch in slow})
    title = "Acceptance by depth (all positions), and fixed lengths k (positions that SD(k) visits)"
    if slow:
        title += f"; steps slower than target-only: {escape(information.deployment or '')}, at batch"
    view = _table(
        title,
        0,
        ("depth, k", "accepted if reached", "by accept_prob", "survival", "", "tok/step", "95 % interval",
         "rejected", *(f"slow, {batch}" for batch in batches)),
    )  # fmt: skip
    view.columns[4].justify = "left"
    for depth, length in list(zip(information.by_depth, information.fixed_lengths, strict=True))[:MAX_DEPTHS]:
        view.add_row(
            str(depth.depth),
            _percent(depth.conditional),
            _percent(depth.expected_conditional),
            _percent(depth.cumulative),
            f"[cyan]{_bar(depth.cumulative)}[/cyan]",
            _number(length.mean_acceptance_length.value),
            _range(length.mean_acceptance_length),
            _percent(length.rejected_share.value),
            *(_percent(slow.get((length.k, batch))) for batch in batches),
        )
    return view


def _print_course(information: TraceInformation, console: Console) -> None:
    course = information.course
    lags = course.autocorrelation
    console.print("\nAcceptance along the output (first draft token)", highlight=False)
    lines = {
        "between requests": f"deviation {_number(course.request_spread, 3)}",
        "first to last token": f"change {_number(course.drift, 3, sign=True)}",
        "autocorrelation": "around the trace's mean "
        + " ".join(_number(lag.total) for lag in lags)
        + f"  (lags 1 to {len(lags)})",
        "": "around each request's " + " ".join(_number(lag.within) for lag in lags),
    }
    if course.wrong_prefix_decay is not None:
        lines["on a wrong prefix"] = f"acceptance falls by {course.wrong_prefix_decay:.0%}"
    for name, value in lines.items():
        console.print(f"  {name:20} {value}", highlight=False)


def _belief_table(found: Information) -> Table:
    of = "" if found.acceptance == "probability" else " (of the recorded coins)"
    view = _table(
        f"What signals tell about acceptance{of}, held out: uncertainty {_number(found.entropy_bits.value, 3)} "
        f"bits, at most {_number(found.ceiling_bits.value, 3)} of them can be known; learnt on "
        f"{found.num_profile_requests:,} requests, judged on {found.num_judged_requests:,}",
        1,
        ("belief from", "gain, bits", "95 % interval", "of the ceiling", "", "R2", "Brier skill",
         "calibration error", "by chance"),
    )  # fmt: skip
    view.columns[4].justify = "left"
    best = max(b.gain_bits.value or 0.0 for b in found.beliefs)
    for belief in found.beliefs:
        share = belief.share_of_ceiling.value
        view.add_row(
            belief.name,
            _number(belief.gain_bits.value, 3),
            _range(belief.gain_bits, 3),
            _percent(share),
            f"[cyan]{_bar(share or 0.0)}[/cyan]",
            _number(belief.r2.value, 3),
            _number(belief.brier_skill.value, 3),
            f"{belief.calibration.error:.4f}",
            f"{belief.calibration.noise:.4f}",
            style="bold green" if belief.gain_bits.value == best and len(found.beliefs) > 1 else "",
        )
    return view


def _print_overlaps(found: Information, console: Console) -> None:
    if found.overlap_correlation is not None:
        value = found.overlap_correlation
        console.print(
            f"  correlation of S with the target overlap {_number(value.value, 3)} ({_range(value, 3)})",
            highlight=False,
        )


def _paper_table(gains: Sequence[PaperGain]) -> Table:
    x_bins = sorted({g.num_x_bins for g in gains})
    headings = [f"{x} bins of a: {kind}" for x in x_bins for kind in ("raw", "shuffled", "corrected")]
    view = _table(
        "I(X; S, A) in bits, the way of arXiv 2509.24328; it moves with the bins, so compare equal bins only",
        1,
        ("cells of (S, A)", *headings),
    )
    for cells in dict.fromkeys(g.cells for g in gains):
        row = {g.num_x_bins: g for g in gains if g.cells == cells}
        values = (
            f"{value:.3f}"
            for x in x_bins
            for value in (row[x].raw_bits, row[x].shuffled_bits, row[x].corrected_bits)
        )
        view.add_row(cells, *values)
    entropies = " and ".join(
        f"{next(g for g in gains if g.num_x_bins == x).entropy_bits:.3f}" for x in x_bins
    )
    view.caption = f"H(X) is {entropies} bits"
    view.caption_justify = "left"
    return view


def _check_table(checks: Sequence[Check]) -> Table:
    view = _table("Checks", 4, ("", "check", "found", "what it means"))
    for check in checks:
        style = "dim" if check.passed is None else ""
        view.add_row(_MARKS[check.passed], check.name, check.found, check.meaning, style=style)
    return view


def _bar(share: float) -> str:
    """A bar of BAR_CELLS characters for a share of 0..1, in eighths of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR_CELLS * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _range(estimate: Estimate, digits: int = 2) -> str:
    low, high = estimate.ci_low, estimate.ci_high
    return "-" if low is None or high is None else f"{low:.{digits}f}-{high:.{digits}f}"
