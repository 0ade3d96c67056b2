"""``svsim info`` on the terminal: what a trace holds, how acceptance lies in it, what signals are worth."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.metrics.information import Information
from svsim.metrics.trace_checks import Check
from svsim.metrics.trace_information import Course, Sizes, TokenCounts, TraceInformation
from svsim.report.formats import estimate_interval, number
from svsim.report.terminal_table import bare_table

MAX_DEPTHS = 16  # rows of the acceptance table; deeper ones are in the JSON
BAR_CELLS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MARKS = {True: "[green]✓[/green]", False: "[bold red]✗[/bold red]", None: "[dim]–[/dim]"}


def print_information(information: TraceInformation, console: Console) -> None:
    """Provenance, sizes, acceptance, slow steps, information, checks, notes."""
    _print_provenance(information, console)
    _print_sizes(information.sizes, console)
    _print_acceptance(information, console)
    _print_slow_steps(information, console)
    _print_course(information.course, console)
    if information.information is not None:
        _print_beliefs(information.information, console)
        _print_paper(information.information, console)
    _print_checks(information.checks, console)
    for note in information.notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)


def _print_title(title: str, about: str, console: Console) -> None:
    console.print(f"\n[bold]{escape(title)}[/bold]  {escape(about)}".rstrip(), highlight=False)


def _table(headings: Sequence[str], words: Sequence[str] = ()) -> Table:
    """A plain table; the columns ``words`` are text, the others numbers."""
    view = bare_table()
    for heading in headings:
        is_number = heading not in words
        view.add_column(heading, justify="right" if is_number and heading else "left", no_wrap=is_number)
    return view


def _print_facts(facts: Mapping[str, object], console: Console, width: int) -> None:
    """Lines of name and value; what is empty is left out."""
    view = Table.grid(padding=(0, 2))
    view.add_column(min_width=width)
    for name, value in facts.items():
        if value:
            view.add_row(f"  {escape(name)}", escape(printable(value, 300)))
    console.print(view, highlight=False)


def _print_provenance(information: TraceInformation, console: Console) -> None:
    trace = information.trace
    models, sampling = trace["models"], dict(trace["sampling"])
    names = [str(m.get("name")) for m in (models.get(r) for r in ("target", "draft", "companion")) if m]
    words = ["greedy" if sampling.pop("greedy", False) else "sampled"]
    head = escape(printable(trace["file"] or "trace", 100))
    kind = f"{trace['acceptance_kind']} acceptance, {trace['chains']} chains"
    console.print(f"[bold]{head}[/bold]  {kind}", highlight=False)
    facts = {
        "models": " / ".join(names),
        "decoding": ", ".join([*words, *(f"{key} {value}" for key, value in sampling.items())]),
        "data": trace["dataset"],
        "hardware": trace["hardware"],
        "made": " by ".join(str(part) for part in (trace["date"], trace["command"]) if part),
        "notice": trace["extra"].get("notice"),
    }
    _print_facts(facts, console, 12)


def _print_sizes(sizes: Sizes, console: Console) -> None:
    facts = {
        "size": f"{sizes.num_requests:,} requests, {sizes.num_positions:,} output positions, "
        f"K = {sizes.num_speculative_tokens} draft tokens each",
        "prompts": _counts(sizes.prompt_tokens),
        "outputs": _counts(sizes.output_tokens),
        "signals": ", ".join(_grouped(sizes.signals)) or "none",
        "target": ", ".join(sizes.target_columns),
        "step times": ", ".join(sizes.step_times) or "none",
    }
    _print_facts(facts, console, 12)
    if not sizes.tasks:
        return
    view = _table(("task", "requests", "positions", "first token accepted", "tok/step"), words=("task",))
    for task in sizes.tasks:
        view.add_row(
            escape(printable(task.task, 40)),
            f"{task.num_requests:,}",
            f"{task.num_positions:,}",
            number(task.first_token_acceptance, ".1%"),
            number(task.mean_acceptance_length, ".2f"),
        )
    _print_title("Tasks", f"tok/step: of SD({sizes.num_speculative_tokens})", console)
    console.print(view)


def _grouped(names: Sequence[str]) -> Iterator[str]:
    """Names in order; those that differ by a number at their end become ``name_0..7``."""
    for stem, group in groupby(names, key=lambda name: name.rstrip("0123456789")):
        first, *others = list(group)
        yield f"{first}..{others[-1].removeprefix(stem)}" if others else first


def _counts(counts: TokenCounts) -> str:
    return (
        f"{counts.mean:,.0f} tokens on average ({counts.least:,} to {counts.most:,}, "
        f"median {counts.median:,.0f})"
    )


def _print_acceptance(information: TraceInformation, console: Console) -> None:
    """Depth d and fixed length k share a row: what depth d adds, and what verifying up to it brings."""
    view = _table(("d, k", "accepted", "by its a", "survival", "", "tok/step", "95 % interval", "rejected"))
    for depth, length in list(zip(information.by_depth, information.fixed_lengths, strict=True))[:MAX_DEPTHS]:
        view.add_row(
            str(depth.depth),
            number(depth.conditional, ".1%"),
            number(depth.expected_conditional, ".1%"),
            number(depth.cumulative, ".1%"),
            f"[cyan]{_bar(depth.cumulative)}[/cyan]",
            number(length.mean_acceptance_length.value, ".2f"),
            estimate_interval(length.mean_acceptance_length, ".2f"),
            number(length.rejected_share.value, ".1%"),
        )
    about = (
        "at depth d if reached, all positions; tok/step and rejected tokens of SD(k) where its steps start"
    )
    _print_title("Acceptance", about, console)
    console.print(view)


def _print_slow_steps(information: TraceInformation, console: Console) -> None:
    slow = {(s.k, s.batch_size): s for s in information.slow_steps}
    if not slow:
        return
    batches = sorted({batch for _, batch in slow})
    view = _table(("k", *(f"batch {batch}" for batch in batches)))
    for k in sorted({k for k, _ in slow}):
        view.add_row(str(k), *(number(slow[k, batch].slow_share, ".1%") for batch in batches))
    about = f"share of SD(k)'s steps with fewer tokens per second than TD, {information.deployment}"
    _print_title("Steps slower than target-only", about, console)
    console.print(view)


def _print_course(course: Course, console: Console) -> None:
    lags = course.autocorrelation
    decay = course.wrong_prefix_decay
    facts = {
        "deviation between requests": number(course.request_spread, ".3f"),
        "change from first to last token": number(course.drift, "+.3f"),
        "loss on a wrong prefix": number(decay, ".1%"),
        f"autocorrelation, lags 1 to {len(lags)}": "  ".join(number(lag.total, ".2f") for lag in lags),
        "around each request's mean": "  ".join(number(lag.within, ".2f") for lag in lags),
    }
    _print_title("Acceptance along the output", "of the first draft token", console)
    _print_facts(facts, console, 30)


def _print_beliefs(found: Information, console: Console) -> None:
    headings = ("belief from", "bits", "95 % interval", "share", "", "R2", "Brier", "error", "noise")
    view = _table(headings, words=("belief from",))
    best = max(b.gain_bits.value or 0.0 for b in found.beliefs)
    for belief in found.beliefs:
        share = belief.share_of_ceiling.value
        view.add_row(
            belief.name,
            number(belief.gain_bits.value, ".3f"),
            estimate_interval(belief.gain_bits, ".3f"),
            number(share, ".1%"),
            f"[cyan]{_bar(share or 0.0)}[/cyan]",
            number(belief.r2.value, ".3f"),
            number(belief.brier_skill.value, ".3f"),
            f"{belief.calibration.error:.4f}",
            f"{belief.calibration.noise:.4f}",
            style="bold green" if belief.gain_bits.value == best and len(found.beliefs) > 1 else "",
        )
    judged = "acceptance" if found.acceptance == "probability" else "the recorded coins"
    about = (
        f"about {judged}: of {number(found.entropy_bits.value, '.3f')} bits at most "
        f"{number(found.ceiling_bits.value, '.3f')} can be known; learnt on {found.num_profile_requests:,} "
        f"requests, judged on {found.num_judged_requests:,}"
    )
    _print_title("Information", about, console)
    console.print(view)
    legend = "share: of the ceiling; Brier: skill; error: of calibration, of which noise explains so much"
    console.print(f"[dim]{legend}[/dim]", highlight=False)
    if (overlap := found.overlap_correlation) is not None:
        words = f"{number(overlap.value, '.3f')} ({estimate_interval(overlap, '.3f')})"
        console.print(f"correlation of S with the target overlap: {words}", highlight=False)


def _print_paper(found: Information, console: Console) -> None:
    if not found.paper:
        return
    x_bins = sorted({g.num_x_bins for g in found.paper})
    headings = [f"{kind} {x}" for x in x_bins for kind in ("raw", "shuffled", "corrected")]
    view = _table(("cells", *headings), words=("cells",))
    for cells in dict.fromkeys(g.cells for g in found.paper):
        rows = (g for x in x_bins for g in found.paper if (g.cells, g.num_x_bins) == (cells, x))
        values = (v for g in rows for v in (g.raw_bits, g.shuffled_bits, g.corrected_bits))
        view.add_row(cells, *(number(value, ".3f") for value in values))
    bins = " and ".join(f"{x} bins of a" for x in x_bins)
    _print_title("I(X; S, A)", f"bits as in arXiv 2509.24328, {bins}; compare equal bins only", console)
    console.print(view)


def _print_checks(checks: Sequence[Check], console: Console) -> None:
    view = _table(("", "check", "found", "what it means"), words=("check", "found", "what it means"))
    for check in checks:
        style = "dim" if check.passed is None else ""
        view.add_row(_MARKS[check.passed], escape(check.name), check.found, check.meaning, style=style)
    _print_title("Checks", "", console)
    console.print(view)


def _bar(share: float) -> str:
    """A bar of BAR_CELLS characters for a share of 0..1, in eighths of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR_CELLS * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
