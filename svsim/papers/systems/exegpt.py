"""ExeGPT: phases of encoding and decoding; throughput and latency of its schedules, and its residency law."""

from typing import TYPE_CHECKING, Any

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

if TYPE_CHECKING:
    from svsim.phase_schedules.residency import OutputLengths
    from svsim.phase_schedules.schedules import PhaseModel

LATENCY, THROUGHPUT = Within(relative=0.01), Within(relative=0.06)
BY_TIMES = Within(relative=0.07)  # a latency that follows from a predicted throughput
NUM_PHASES = 1000


def evidence(sheet: Sheet) -> None:
    """The RRA row from table 7 and the output lengths; residents by two laws and a loop; the rest is open."""
    paper = facts("exegpt")
    for row in paper["table_6"]:
        if row["kind"] == "rra":
            _rra(sheet, row)
        else:
            _waa(sheet, row)
    _residency(sheet, next(row for row in paper["table_6"] if row["kind"] == "rra"))
    for row in paper["over_faster_transformer"]:
        why = "FasterTransformer's times and the models' layer times are not printed"
        sheet.leave_open(row["setting"], "throughput over FasterTransformer", row["ratio"], why)


def _rra(sheet: Sheet, row: dict[str, Any]) -> None:
    be, nd, tail = row["be"], row["nd"], facts("exegpt")["task_s"]["p99"]
    setting = f"task S, RRA B_E = {be}, N_D = {nd}"
    found = _model(facts("exegpt")["task_s"], facts("exegpt")["table_7"]["rra"], tail).at(be, nd)
    times = facts("exegpt")["table_7"]["rra"]
    sheet.predict(
        setting,
        "queries/s",
        found.throughput,
        f"{be} / ({times['encode_s']} + {nd} x {times['decode_s']}) of table 7",
        published=row["throughput"],
        within=THROUGHPUT,
    )
    phases = -(-tail // nd)
    sheet.predict(
        setting,
        "p99 latency, s",
        phases * be / row["throughput"],
        f"ceil({tail}/{nd}) = {phases} phases of {be} / {row['throughput']} = {be / row['throughput']:.3f} s",
        published=row["latency_s"],
        within=LATENCY,
    )


def _waa(sheet: Sheet, row: dict[str, Any]) -> None:
    mean = facts("exegpt")["task_s"]["mean"]
    setting, period_s = f"task S, WAA B_E = {row['be']}", row["be"] / row["throughput"]
    why = (
        f"a period of B_E / queries/s = {period_s:.3f} s times the {mean} passes of a mean query is "
        f"{mean * period_s:.1f} s, above the printed p99 of {row['latency_s']} s: its micro-batches, which "
        "would explain it, are not printed"
    )
    sheet.leave_open(setting, "p99 latency, s", row["latency_s"], why)
    sheet.leave_open(setting, "queries/s", row["throughput"], "its stage times are of an unknown B_E")


def _residency(sheet: Sheet, row: dict[str, Any]) -> None:
    """B_D of the published law, of the steady state, and of a loop of single queries."""
    from svsim.phase_schedules.loop import run_phases
    from svsim.phase_schedules.residency import Law, residents_per_query
    from svsim.random_streams import RandomStreams

    be, nd, task = row["be"], row["nd"], facts("exegpt")["task_s"]
    lengths = _lengths(task["mean"], task["deviation"], task["longest"])
    generator = RandomStreams(0).generator("exegpt")
    paper, resident = (be * residents_per_query(lengths, nd, law) for law in (Law.PAPER, Law.RESIDENT))
    free = run_phases(lengths, nd, generator, admit=be, num_phases=NUM_PHASES)
    held = run_phases(lengths, nd, generator, hold=round(paper), num_phases=NUM_PHASES)
    setting = f"task S, RRA B_E = {be}, N_D = {nd}"
    _laws(sheet, setting, paper, resident)
    sheet.predict(setting, "residents of a simulated loop", free.residents, f"{be} admitted in every phase")
    sheet.predict(
        setting,
        "admitted per phase if held at the paper's residents",
        held.admitted,
        f"a loop that fills up to {round(paper)} in every phase",
    )
    waa, rra = residents_per_query(lengths, 1), residents_per_query(lengths, 1, Law.PAPER)
    sheet.contradict(
        f"The published law B_D = B_E / E[1/ceil(s/N_D)] gives {paper:.1f} residents; the steady state has "
        f"B_E E[ceil(s/N_D)] = {resident:.1f}, a loop {free.residents:.1f}. Held at {round(paper)}, the loop "
        f"admits {held.admitted:.1f} queries a phase, {held.admitted / be - 1:+.0%} of {be}. The law weighs "
        "residents by the lengths of arrivals; long queries stay longer (Jensen: E[1/c] > 1/E[c])."
    )
    sheet.contradict(
        f"At N_D = 1 the paper contradicts itself: its law for RRA gives {rra:.1f} residents per query, its "
        f"rule for WAA, B_D = B_E E[s], gives {waa:.1f}, which is the steady state."
    )


def _laws(sheet: Sheet, setting: str, paper: float, resident: float) -> None:
    sheet.predict(setting, "residents, the paper's law", paper, "B_E / E[1/ceil(s/N_D)]")
    sheet.predict(setting, "residents, steady state", resident, "B_E E[ceil(s/N_D)]")


def _lengths(mean: float, deviation: float, longest: int) -> "OutputLengths":
    from svsim.phase_schedules.residency import OutputLengths

    return OutputLengths.truncated_normal(mean, deviation, longest)


def _model(task: dict[str, Any], times: dict[str, Any], tail: int) -> "PhaseModel":
    from svsim.phase_schedules.phase_times import PublishedTimes
    from svsim.phase_schedules.schedules import PhaseModel

    lengths = _lengths(task["mean"], task["deviation"], task["longest"])
    published = PublishedTimes(times["encode_s"], times["encoded"], times["decode_s"])
    return PhaseModel("rra", lengths, task["prompt_tokens"], published, tail_tokens=tail)


def ask(sheet: Sheet, values: Values) -> None:
    """An RRA schedule at printed stage times."""
    from svsim.phase_schedules.residency import Law, residents_per_query

    be, nd, tail = int(values["be"]), int(values["nd"]), int(values["tail"])
    task = {name: float(values[name]) for name in ("mean", "deviation")}
    times = {name: float(values[name]) for name in ("encode_s", "decode_s", "encoded")}
    model = _model({**task, "longest": int(values["longest"]), "prompt_tokens": 1}, times, tail)
    found = model.at(be, nd)
    setting = f"RRA B_E = {be}, N_D = {nd}"
    why = f"{be} / ({times['encode_s']:g} x {be}/{times['encoded']:g} + {nd} x {times['decode_s']:g})"
    sheet.predict(setting, "queries/s", found.throughput, why, within=THROUGHPUT)
    given = float(values["throughput"])
    phase_s = be / given if given else found.phase_s
    phases = -(-tail // nd)
    sheet.predict(
        setting,
        "p99 latency, s",
        phases * phase_s,
        f"ceil({tail}/{nd}) = {phases} phases of {phase_s:.3f} s" + (", as given" if given else ""),
        within=LATENCY if given else BY_TIMES,
    )
    paper, resident = (be * residents_per_query(model.lengths, nd, law) for law in (Law.PAPER, Law.RESIDENT))
    _laws(sheet, setting, paper, resident)


SYSTEM = System(
    "exegpt",
    "ExeGPT: schedules of encoding and decoding phases",
    "arXiv 2404.07947, ASPLOS 2024, tables 3, 6 and 7",
    "RRA phase = encode B_E + N_D decode passes; p99 latency = ceil(s/N_D) phases; no number is fitted",
    evidence,
    (
        Parameter("be", "prompts of a phase", 1, 4096, is_integer=True),
        Parameter("nd", "decode passes of a phase", 1, 4096, is_integer=True),
        Parameter("tail", "output tokens of the query whose latency is bounded", 1, 1e6, 63, is_integer=True),
        Parameter("throughput", "queries/s if known, for the latency; 0: from the times", 0.0, 1e6, 0.0),
        Parameter("encode_s", "seconds of encoding `encoded` prompts", 1e-9, 1e6, 1.68),
        Parameter("encoded", "prompts that `encode_s` is of", 1, 1e6, 52, is_integer=True),
        Parameter("decode_s", "seconds of a decode pass", 1e-9, 1e6, 0.038),
        Parameter("mean", "of output tokens", 0.0, 1e6, 32.0),
        Parameter("deviation", "of output tokens", 0.1, 1e6, 13.0),
        Parameter("longest", "output", 1, 1e6, 80, is_integer=True),
    ),
    ask,
)
