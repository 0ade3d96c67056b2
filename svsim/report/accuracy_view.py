"""What is shown of a comparison with measurements, the same on the terminal and on a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from svsim.metrics.accuracy import TARGETS, Accuracy, AccuracyRow
from svsim.report.formats import milliseconds, number
from svsim.report.plain_table import PlainTable

Row = Mapping[str, Any]

SUMMARY_WORDS: Mapping[str, str] = {
    "goodput_error_mean": "goodput, mean error",
    "goodput_error_worst": "goodput, worst error",
    "common_scale_error": "  of which common to all (cancels in speedups)",
    "speedup_error_mean": "speedups, mean error",
    "speedup_error_worst": "speedups, worst error",
    "marginal_error_mean": "seconds per verified token, mean error",
    "marginal_error_worst": "seconds per verified token, worst error",
    "crossover_grid_steps_worst": "crossover, batch-grid steps apart at worst",
    "regret_mean": "regret of the recommendation, mean",
    "regret_worst": "regret of the recommendation, worst",
}
_LEFT_OUT = ("rows", "live_rows", "logged", "online", "retimed", "retest", "summary", "targets", "crossovers",
             "choices", "marginals")  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccuracyView:
    """A comparison to show.

    accuracies: by name, the one that is drawn and listed first. meanings: of those names. facts: where it
    all comes from. notes: what helps to read it. cautions: what to keep in mind.
    """

    title: str
    accuracies: Mapping[str, Accuracy]
    meanings: Mapping[str, str]
    tables: tuple[PlainTable, ...]
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def first(self) -> Accuracy:
        """The accuracy that is drawn."""
        return next(iter(self.accuracies.values()))


def bench_view(
    found: Accuracy,
    title: str,
    facts: Mapping[str, Any],
    latencies: Sequence[tuple[int, str, str, float, float]] = (),
    notes: Sequence[str] = (),
    cautions: Sequence[str] = (),
) -> AccuracyView:
    """A user's own results against the replay; latencies: batch, method, name, predicted and measured s."""
    tables = (_latencies(latencies),) if latencies else ()
    return AccuracyView(title, {"found": found}, {}, tables, facts, tuple(notes), tuple(cautions))


def _latencies(pairs: Sequence[tuple[int, str, str, float, float]]) -> PlainTable:
    words = {"ttft_s": "TTFT", "tpot_s": "TPOT"}
    rows = [
        (
            str(batch),
            label,
            words[name],
            milliseconds(predicted),
            milliseconds(measured),
            f"{predicted / measured - 1:+.1%}",
        )
        for batch, label, name, predicted, measured in pairs
    ]
    return PlainTable(
        "Latencies",
        "Means. TTFT is predicted as the prefill of a prompt and one step with the others: a queue in front "
        "of it is measured, not predicted.",
        ("batch", "method", "what", "predicted ms", "measured ms", "error"),
        tuple(rows),
        3,
    )


def loop_view(document: Row, accuracies: Mapping[str, Accuracy | None]) -> AccuracyView:
    """Hardware in the loop: ``document`` is the report as plain values."""
    names = {
        "device": "seconds of the device, steps decided beforehand",
        "re-timed": "the same, predicted from the table's own shapes timed again beside the loop: what is "
        "left is the prediction's error without the machine's drift",
        "wall clock": "all the time that passes when each step is decided on the way; one host time added",
    }
    given = {name: a for name, a in accuracies.items() if a is not None}
    notes, retest = [], document["retest"]
    if retest["num_shapes"]:
        notes.append(
            f"machine's drift: {retest['num_shapes']} shapes of the table, timed again beside the loop, took "
            f"{retest['common_scale_change']:+.1%} (median change {retest['median_change']:.1%})"
        )
    left_out = ", ".join(f"{size} ({why})" for size, why in document["left_out_batch_sizes"].items())
    if left_out:
        notes.append(f"batch sizes left out: {left_out}")
    title = f"{document['hardware']} in the loop, predicted from {document['latency_source']} step times"
    return AccuracyView(
        title,
        given,
        {name: names[name] for name in given},
        (_parts(document["rows"]),),
        _facts(document),
        tuple(notes),
        _cautions(document),
    )


def live_view(document: Row, found: Accuracy) -> AccuracyView:
    """Models really generating: ``document`` is the report as plain values."""
    title = f"{document['models']['target']} generating on {document['hardware']}, predicted from its trace"
    return AccuracyView(
        title,
        {"found": found},
        {},
        (_acceptance(document["live_rows"]),),
        _facts(document),
        cautions=_cautions(document),
    )


def summary_lines(accuracies: Mapping[str, Accuracy]) -> list[tuple[str, ...]]:
    """(what, found by each accuracy ..., target, met by the first) of every figure that is known."""
    lines = []
    summaries = [accuracy.summary() for accuracy in accuracies.values()]
    for name, words in SUMMARY_WORDS.items():
        values = [summary[name] for summary in summaries]
        if all(value is None for value in values):
            continue
        is_count = name.startswith("crossover")
        form = "{:.0f}" if is_count else ("{:+.1%}" if name == "common_scale_error" else "{:.1%}")
        target, first = TARGETS.get(name), values[0]
        met = "" if target is None or first is None else ("yes" if first <= target else "no")
        aim = "" if target is None else f"<= {form.format(target)}"
        shown = ("-" if value is None else form.format(value) for value in values)
        lines.append((words, *shown, aim, met))
    return lines


PAIR_HEADS = ("batch", "method", "predicted tok/s", "measured tok/s", "error", "vs TD", "measured", "error",
              "vs SD", "measured", "error")  # fmt: skip


def pair_cells(row: AccuracyRow) -> tuple[str, ...]:
    """A row under ``PAIR_HEADS``; speedups are predicted, measured, error."""
    return (
        str(row.batch_size),
        row.label,
        f"{row.predicted_tok_s:,.1f}",
        measured_text(row),
        f"{row.goodput_error:+.1%}",
        *_speedup(row.predicted_speedup_vs_td, row.measured_speedup_vs_td, row.speedup_vs_td_error),
        *_speedup(row.predicted_speedup_vs_sd, row.measured_speedup_vs_sd, row.speedup_vs_sd_error),
    )


def measured_text(row: AccuracyRow) -> str:
    """Tokens per second with the standard error, where there is one."""
    spread = "" if row.measured_standard_error is None else f" ± {row.measured_standard_error:,.1f}"
    return f"{row.measured_tok_s:,.1f}{spread}"


def choice_table(accuracy: Accuracy) -> PlainTable:
    """What following the recommendation would have cost, at every batch size."""
    rows = [(str(c.batch_size), c.recommended, c.fastest, f"{c.regret:.1%}") for c in accuracy.choices]
    return PlainTable(
        "Recommendation",
        "Goodput lost by running the method that was predicted to be fastest.",
        ("batch", "predicted fastest", "measured fastest", "lost"),
        tuple(rows),
        3,
    )


def crossover_table(accuracy: Accuracy) -> PlainTable:
    """Where each method stops paying."""
    rows = [
        (c.label, _batch(c.predicted_batch), _batch(c.measured_batch), str(c.grid_steps_apart))
        for c in accuracy.crossovers
    ]
    return PlainTable(
        "Crossover",
        "Smallest batch size from which on target-only decoding is at least as fast.",
        ("method", "predicted", "measured", "grid steps apart"),
        tuple(rows),
        1,
    )


def marginal_table(accuracy: Accuracy) -> PlainTable:
    """Milliseconds that one more verified token costs."""
    rows = [
        (
            str(m.batch_size),
            milliseconds(m.predicted_s),
            milliseconds(m.measured_s),
            number(m.error, "+.1%"),
        )
        for m in accuracy.marginals
    ]
    return PlainTable(
        "Milliseconds per verified token",
        "Slope of the verification's time over the steps of all methods at one batch size.",
        ("batch", "predicted ms", "measured ms", "error"),
        tuple(rows),
        0,
    )


def _parts(rows: Sequence[Row]) -> PlainTable:
    parts = ("draft", "companion", "verify")
    shown = [
        (
            str(row["batch_size"]),
            row["method"],
            f"{row['mean_verification_length']:.2f}",
            f"{row['mean_context']:,.0f}",
            *(
                milliseconds(row[f"{side}_{part}_s"] if row[f"predicted_{part}_s"] else None)
                for part in parts
                for side in ("predicted", "measured")
            ),
            milliseconds(row["host_s"]),
            milliseconds(row["online_step_s"]),
        )
        for row in rows
    ]
    return PlainTable(
        "Milliseconds per step, by part",
        "Predicted and measured, side by side: which part an error comes from.",
        (
            "batch",
            "method",
            "verified",
            "context",
            *(f"{part} {side}" for part in parts for side in ("predicted", "measured")),
            "host",
            "step, wall clock",
        ),
        tuple(shown),
        2,
    )


def _acceptance(rows: Sequence[Row]) -> PlainTable:
    shown = []
    for row in rows:
        law = row["law"]
        test = "-" if law is None else f"{law['p_value']:.3f}"
        power = "-" if law is None else f"{law['power']:.2f}"
        error = row["acceptance_length_standard_error"]
        shown.append(
            (
                row["method"],
                f"{row['predicted_acceptance_length']:.3f}",
                f"{row['measured_acceptance_length']:.3f} ± {error:.3f}",
                f"{row['predicted_verification_length']:.2f}",
                f"{row['measured_verification_length']:.2f}",
                "yes" if row["lossless"] else "no",
                test,
                power,
            )
        )
    return PlainTable(
        "Acceptance and the law of the text",
        "Law: p-value of the test that texts follow target-only decoding's law, and its power to see 0.1 "
        "of total variation per position. Small p-values speak against the method.",
        (
            "method",
            "acceptance length, predicted",
            "measured",
            "verified, predicted",
            "measured",
            "lossless",
            "law: p",
            "power",
        ),
        tuple(shown),
        1,
    )


def _cautions(document: Row) -> tuple[str, ...]:
    kind = document.get("acceptance_kind")
    cautions = []
    if kind in ("synthetic", "reconstructed"):
        cautions.append(f"acceptance of the trace is {kind}; only the steps it leads to are compared")
    if document["hardware"] == "cpu":
        cautions.append("measured on a CPU: shows the method at work and is no evidence about a GPU")
    return tuple(cautions)


def _facts(document: Row) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _LEFT_OUT}


def _speedup(predicted: float | None, measured: float | None, error: float | None) -> tuple[str, str, str]:
    if predicted is None or measured is None or error is None:
        return "-", "-", "-"
    return f"{predicted:.2f}x", f"{measured:.2f}x", f"{error:+.1%}"


def _batch(size: int | None) -> str:
    return "none" if size is None else str(size)
