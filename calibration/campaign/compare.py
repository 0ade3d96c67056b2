"""Part d: the replay's prediction beside hardware in the loop and a live run.

Hardware in the loop: every family of models is compared with the prediction of a table calibrated beforehand.
Tables that parts a and c left in the results folder are used; others are measured now, with less time. Live
run: with the triplet of part b, where there is one and time is left.
"""

from pathlib import Path
from typing import Any

from campaign.place import Place, write_json
from campaign.scale import Family
from svsim.latency.measured import MeasuredLatency, read_step_times
from svsim.trace.file import TraceReader
from svsim.trace.parts import FileSource
from svsim.validation.hardware_in_the_loop import LoopReport, LoopSettings, hardware_in_the_loop
from svsim.validation.live_report import LiveSettings
from svsim.validation.live_run import live_run


def part_d(place: Place) -> None:
    """Compare every family, then run live; writes ``validation_<name>.json`` beside its report."""
    with place.part("d") as report:
        report["summaries"] = summaries = {}
        for family in place.scale.loop.families:
            summaries[family.name] = _compare(place, family)
        if not (place.triplet / "triplet.json").exists():
            place.lines.tell("no live run: part b has left no triplet")
        elif place.lines.elapsed_s > place.scale.live.begin_within_s:
            place.lines.tell("no live run: no time left")
        else:
            summaries["live"] = _live(place)


def _compare(place: Place, family: Family) -> dict[str, Any]:
    """One family beside its hardware; the summary."""
    table, scale = _table(place, family), place.scale.loop
    settings = LoopSettings(
        **place.models(family.models),  # type: ignore[arg-type]
        methods=family.methods,
        batch_sizes=scale.batch_sizes,
        num_steps=scale.num_steps,
        num_repeats=scale.num_repeats,
        one_context=scale.one_context,
        seconds=family.seconds,
        device=place.scale.device,
        command=place.command,
    )
    latency = MeasuredLatency.from_file(table, out_of_range="extrapolate")
    source = FileSource(TraceReader(scale.trace))
    report = hardware_in_the_loop(source, latency, settings, place.lines, read_step_times(table))
    path = place.out / f"{place.hardware}_validation_{family.name}.json"
    write_json(path, {**report.to_dict(), "trace": scale.trace.name, "latency_table": table.name})
    place.lines.tell(f"{path.name}: {_in_words(report)}")
    return {
        "logged": report.logged.summary(),
        "retimed": None if report.retimed is None else report.retimed.summary(),
        "online": report.online.summary(),
    }


def _table(place: Place, family: Family) -> Path:
    """The family's step times: another part's, an earlier run's, or measured now."""
    for path in (place.table(family.table), own := place.table(f"{family.name}_step_times")):
        if path.exists():
            return path
    place.calibrate(place.calibration(own, place.scale.loop.timing, **family.models))
    return own


def _live(place: Place) -> dict[str, Any]:
    scale = place.scale.live
    settings = LiveSettings(
        place.triplet,
        place.scratch,
        methods=scale.methods,
        batch_size=scale.batch_size,
        max_requests=scale.max_requests,
        num_output_tokens=scale.num_output_tokens,
        num_speculative_tokens=scale.num_speculative_tokens,
        num_repeats=scale.num_repeats,
        num_law_texts=scale.num_law_texts,
        device=place.scale.device,
        command=place.command,
    )
    report = live_run(settings, lambda line: place.lines.tell(f"  live: {line}"))
    write_json(place.out / f"{place.hardware}_validation_live.json", report.to_dict())
    return report.accuracy.summary()


def _in_words(report: LoopReport) -> str:
    found = [("", report.logged)] + ([("re-timed ", report.retimed)] if report.retimed is not None else [])
    names = ("goodput_error_mean", "goodput_error_worst", "speedup_error_mean", "regret_worst")
    shown = [(f"{which}{name}", accuracy.summary()[name]) for which, accuracy in found for name in names]
    return ", ".join(f"{name} {value:.1%}" for name, value in shown if value is not None)
