"""``docs/engine_prices.md``: constants, errors by engine, GPU and batch range, and every panel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engine_errors import (
    BATCH_RANGES,
    HALF_80,
    HALF_90,
    Summary,
    by_panel,
    coverage,
    decisions,
    is_roofline_mixture,
    speedup_error,
    step_error,
    target_only_error,
)
from engine_fit import Judged
from engine_readings import Reading

HEAD = """# What a speculative step costs on real engines

Written by `python calibration/fit_engines.py --write` from public measurements; the panels themselves are not
part of svsim. `svsim engines` lists the profiles, `--engine NAME` chooses one, `--engine none` prices bare
passes. Words and formulas: `svsim/latency/engines/profile.py`.

Every error on this page is of a cell whose family (same author and machine) had no part in fitting the
constants that predicted it. The form of the model, the ridge and the list of cells that cannot judge were
chosen with these panels in sight, so expect somewhat more on your own machine: `svsim validate --bench`.
"""
GROUPS: tuple[tuple[str, Callable[[Judged], str]], ...] = (
    ("engine", lambda one: one.cell.setting.profile),
    ("GPU", lambda one: one.cell.setting.gpu),
    (
        "target",
        lambda one: "mixture" * one.terms.is_mixture + ", by roofline" * is_roofline_mixture(one) or "dense",
    ),
    ("drafter", lambda one: one.cell.speculation.kind if one.cell.speculation else "none"),
)


def page(
    entries: Sequence[Mapping[str, Any]],
    clean: Sequence[Judged],
    judged: Sequence[Judged],
    single: Mapping[str, Reading],
) -> str:
    """The whole page; entries: the profiles' JSON."""
    errors = {entry["name"]: entry for entry in entries}
    parts = [
        HEAD,
        "## Constants\n",
        *_constants(entries),
        *_readings(single),
        "\n## Errors on families left out\n",
        *_overall(clean),
        *_price_errors(clean, errors),
        *_targets(clean, errors),
        *_groups(clean),
        "\n## Every panel\n",
        *_panels(judged),
    ]
    return "\n".join(parts) + "\n"


def _constants(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    shown = ("target_only_host_s", "speculative_host_s", "draft_pass_s", "cut_vocabulary_pass_s")
    yield "Milliseconds, with the spread over the fits that leave one family out.\n"
    yield "| profile | target-only host | speculative host | per draft pass | per EAGLE-3 pass more |"
    yield "|---|---|---|---|---|"
    for entry in entries:
        cells = (_spread(entry["constants"].get(key), 1e3) for key in shown)
        yield f"| {entry['name']} | {' | '.join(cells)} |"
    first = entries[0]["constants"]
    factors = {
        "verification attention": "verify_attention",
        "prefill": "prefill",
        "verification of roofline mixtures": "mixture_verification",
    }
    yield (
        "\nShared factors: "
        + "; ".join(f"{w} {_spread(first[key], 1)}" for w, key in factors.items())
        + ".\n"
    )


def _spread(constant: Mapping[str, Any] | None, unit: float) -> str:
    if constant is None:
        return "0"
    return f"{constant['value'] * unit:.2f} ({constant['low'] * unit:.2f}-{constant['high'] * unit:.2f})"


def _readings(single: Mapping[str, Reading]) -> Iterator[str]:
    yield "Single readings, too few to cross-validate:\n"
    yield "| constant | median ms | range | how | panels |"
    yield "|---|---|---|---|---|"
    for name, reading in single.items():
        low, high = min(reading.values_s) * 1e3, max(reading.values_s) * 1e3
        yield (
            f"| {name} | {reading.median_s * 1e3:.2f} | {low:.2f}-{high:.2f} | {reading.how} | "
            f"{', '.join(reading.panels)} |"
        )


def _overall(clean: Sequence[Judged]) -> Iterator[str]:
    yield "| quantity | cells | panels | mean | median | p80 | p90 | worst | within 30 % | mean by panel |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, error in (
        ("speedup", speedup_error),
        ("speculative step", step_error),
        ("target-only step", target_only_error),
    ):
        found = Summary.of(clean, error)
        if found:
            yield (
                f"| {name} | {found.num_cells} | {found.num_panels} | "
                f"{found.mean:.1%} | {found.median:.1%} | {found.p80:.1%} | {found.p90:.1%} | "
                f"{found.worst:.0%} | {found.within_30:.1%} | "
                f"{by_panel(clean, error):.1%} |"
            )


def _price_errors(clean: Sequence[Judged], entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    def stated(one: Judged) -> float:
        key = "roofline_mixture_error" if is_roofline_mixture(one) else "price_error"
        return float(entries[one.cell.setting.profile][key])

    low, high = coverage(clean)
    yield (
        f"\n`price_error` is one sigma; beyond the largest batch that judged a profile it grows by an "
        f"assumed share per doubling. Error bars of {HALF_80:.2f} and {HALF_90:.2f} sigma, stated from the "
        f"other families alone, cover {low:.1%} and {high:.1%} of the cells (wanted: 80 % and 90 %)."
    )
    found = decisions(clean, stated)
    yield (
        f"\nDecisions: of {found['far']:.0f} cells more than 10 % from break-even the sign is right in "
        f"{found['far_right']:.1%}; with `measure` inside the 90 % error bar, "
        f"{found['far_right_or_measure']:.1%} are right or `measure`, {found['far_measure']:.1%} the latter. "
        f"Of {found['near']:.0f} cells within 10 % of it the sign is right in {found['near_right']:.0%} and "
        f"{found['near_measure']:.0%} say `measure`."
    )


def _targets(clean: Sequence[Judged], entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What was aimed at before the fit, and what came out."""
    speedup, step, off = (Summary.of(clean, e) for e in (speedup_error, step_error, target_only_error))
    assert speedup and step and off
    low, high = coverage(clean)
    far = decisions(clean, lambda one: float(entries[one.cell.setting.profile]["price_error"]))
    aims = (
        ("speedup, mean by row", "at most 9 %", speedup.mean, speedup.mean <= 0.09),
        ("speedup, mean by panel", "at most 10 %", (got := by_panel(clean, speedup_error)), got <= 0.10),
        ("speedup, p90", "at most 18 %", speedup.p90, speedup.p90 <= 0.18),
        ("speedup, cells within 30 %", "at least 98 %", speedup.within_30, speedup.within_30 >= 0.98),
        ("speculative step, mean", "at most 14 %", step.mean, step.mean <= 0.14),
        ("target-only step, mean", "at most 8 %", off.mean, off.mean <= 0.08),
        ("right beyond 10 % from break-even", "at least 97 %", far["far_right"], far["far_right"] >= 0.97),
        ("80 % error bar covers", "75 to 85 %", low, 0.75 <= low <= 0.85),
        ("90 % error bar covers", "87 to 93 %", high, 0.87 <= high <= 0.93),
    )
    yield "\n| aim | wanted | got | met |"
    yield "|---|---|---|---|"
    for what, wanted, got, is_met in aims:
        yield f"| {what} | {wanted} | {got:.1%} | {'yes' if is_met else '**no**'} |"


def _groups(clean: Sequence[Judged]) -> Iterator[str]:
    for title, group_of in GROUPS:
        yield f"\n| {title} | batch | speedup: cells | mean | bias | p90 | step: mean | target-only: mean |"
        yield "|---|---|---|---|---|---|---|---|"
        for group in sorted({group_of(one) for one in clean}):
            for low, high in BATCH_RANGES:
                cells = [
                    one
                    for one in clean
                    if group_of(one) == group and low <= one.cell.setting.batch_size <= high
                ]
                line = _group_line(cells)
                if line:
                    yield f"| {group} | {_span(low, high)} {line}"


def _span(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low}-{high}" if high < BATCH_RANGES[-1][1] else f"{low}+"


def _group_line(cells: Sequence[Judged]) -> str:
    speedup, step, off = (Summary.of(cells, e) for e in (speedup_error, step_error, target_only_error))
    if not speedup and not step:
        return ""
    parts = (
        f"{speedup.num_cells} | {speedup.mean:.1%} | {speedup.bias:+.1%} | {speedup.p90:.1%}"
        if speedup
        else "0 | - | - | -"
    )
    return f"| {parts} | {_mean(step)} | {_mean(off)} |"


def _mean(summary: Summary | None) -> str:
    return f"{summary.mean:.1%}" if summary else "-"


def _panels(judged: Sequence[Judged]) -> Iterator[str]:
    yield (
        "Means over datasets; seconds of a step hold the prefills of the row's basis. *no*: does not judge, "
        "with the reason below the table.\n"
    )
    for panel in dict.fromkeys(one.cell.setting.panel for one in judged):
        cells = [one for one in judged if one.cell.setting.panel == panel]
        first = cells[0].cell.setting
        yield f"### {panel}\n"
        where = f"{first.gpu} tp {first.tensor_parallel}"
        yield f"{first.profile}, {where}, {first.target}; family {first.family}.\n"
        yield (
            "| batch | drafter | k | cells | step ms: measured | predicted | error | "
            "speedup: measured | predicted | error | judges |"
        )
        yield "|---|---|---|---|---|---|---|---|---|---|---|"
        groups: dict[tuple[Any, ...], list[Judged]] = {}
        for one in cells:
            s = one.cell.speculation
            key = (one.cell.setting.batch_size, s.kind if s else "-", s.k if s else 0,
                   (s.tree_nodes or 0) if s else 0, one.cell.unusable)  # fmt: skip
            groups.setdefault(key, []).append(one)
        for key in sorted(groups):
            yield _panel_line(key, groups[key])
        for why in sorted({one.cell.unusable for one in cells if one.cell.unusable}):
            yield f"\n*no*: {why}."
        yield ""


def _panel_line(key: tuple[Any, ...], cells: Sequence[Judged]) -> str:
    batch, kind, k, nodes, unusable = key
    measured = _average([one.cell.step_s * 1e3 for one in cells])
    predicted = _average([one.cell.step_s * 1e3 * (1.0 + one.step_error) for one in cells])
    pairs = [one for one in cells if speedup_error(one) is not None]
    speedups = "- | - | -"
    if pairs:
        got = _average([one.cell.speedup or 0.0 for one in pairs])
        said = _average([one.predicted_speedup for one in pairs])
        speedups = f"{got:.2f} | {said:.2f} | {said / got - 1:+.0%}"
    drafted = f"{k}" + (f" ({nodes} nodes)" if nodes and nodes != k + 1 else "") if k else "-"
    return (
        f"| {batch} | {kind} | {drafted} | {len(cells)} | {measured:.2f} | {predicted:.2f} | "
        f"{predicted / measured - 1:+.0%} | {speedups} | {'*no*' if unusable else 'yes'} |"
    )


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)
