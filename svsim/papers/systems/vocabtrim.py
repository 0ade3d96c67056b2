"""VocabTrim: a smaller head of the drafter; memory-bound speedup from its block efficiency."""

from svsim.closed_forms import memory_bound_speedup
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_ROW = Within(relative=0.03)
GAMMA = 4  # inferred from the untrimmed row


def weights_ratio(rows: float) -> float:
    """Draft over target parameters, with so many rows of the draft's head."""
    paper = facts("vocabtrim")
    head, embedding, layer = (paper["draft"][part] for part in ("head", "embedding", "layer"))
    read: float = head * rows / paper["vocabulary"] + embedding + layer
    return read / float(paper["target_parameters"])


def mbsu(rows: float, tau: float, gamma: float = GAMMA) -> float:
    """Memory-bound speedup of EAGLE on Llama-3.2-3B with a trimmed head."""
    return memory_bound_speedup(tau, weights_ratio(rows), gamma)


def evidence(sheet: Sheet) -> None:
    """The untrimmed row gives gamma; the others follow from their block efficiency."""
    paper = facts("vocabtrim")
    whole, *trimmed = paper["sweep"]
    implied = (whole["tau"] / whole["mbsu"] - 1) / weights_ratio(whole["rows"])
    sheet.calibrate(
        "EAGLE on Llama-3.2-3B, 128K rows",
        "MBSU",
        whole["mbsu"],
        mbsu(whole["rows"], whole["tau"]),
        f"gamma is not printed: this row implies {implied:.2f}, so {GAMMA}",
    )
    for row in trimmed:
        sheet.predict(
            f"EAGLE on Llama-3.2-3B, {row['label']} rows",
            "MBSU",
            mbsu(row["rows"], row["tau"]),
            f"tau {row['tau']} of this row, head scaled to its rows, gamma {GAMMA}",
            published=row["mbsu"],
            within=A_ROW,
        )
    _independent(sheet)
    misses = [
        abs(mbsu(row["rows"], row["tau"], gamma) / row["mbsu"] - 1)
        for row in paper["sweep"]
        for gamma in (GAMMA - 1, GAMMA + 1)
    ]
    sheet.say(
        f"With gamma {GAMMA - 1} or {GAMMA + 1} rows are missed by {min(misses):.0%} to {max(misses):.0%}."
    )
    sheet.contradict(_without_embedding())


def _without_embedding() -> str:
    """The embedding is looked up, not read; whether MBSU counts it, the sweep tells."""
    paper = facts("vocabtrim")
    not_read = paper["draft"]["embedding"] / paper["target_parameters"]
    whole, *trimmed = paper["sweep"]
    gamma = round((whole["tau"] / whole["mbsu"] - 1) / (weights_ratio(whole["rows"]) - not_read))
    missed = max(
        memory_bound_speedup(row["tau"], weights_ratio(row["rows"]) - not_read, gamma) / row["mbsu"] - 1
        for row in trimmed
    )
    return (
        "MBSU counts the draft's embedding, of which a pass reads one row: without it gamma would be "
        f"{gamma} and the trimmed rows up to {missed:.0%} too high. Real passes gain more than MBSU says."
    )


def _independent(sheet: Sheet) -> None:
    paper = facts("vocabtrim")
    draft, target = paper["independent"], paper["target_parameters"]
    before = draft["parameters"] / target
    after = (draft["parameters"] - draft["head"] + draft["trimmed_head"]) / target
    tau = draft["mbsu"] * memory_bound_speedup(1.0, before, GAMMA) ** -1
    most = memory_bound_speedup(tau, after, GAMMA)
    sheet.predict(
        "independent drafter of 314 M, 32K rows",
        "MBSU, at most",
        most,
        f"if no token were lost: tau {tau:.2f} from the untrimmed {draft['mbsu']}, gamma {GAMMA}; its own "
        "tau is not printed: no verdict",
        published=draft["trimmed_mbsu"],
    )


def ask(sheet: Sheet, values: Values) -> None:
    """MBSU of a number of rows and a block efficiency."""
    rows, tau, gamma = int(values["rows"]), float(values["tau"]), float(values["gamma"])
    ratio = weights_ratio(rows)
    why = f"c = {ratio:.4f} of the target's weights per draft pass, gamma {gamma:g}"
    setting = f"EAGLE on Llama-3.2-3B, {rows} rows, tau = {tau:g}"
    sheet.predict(setting, "MBSU", memory_bound_speedup(tau, ratio, gamma), why, within=A_ROW)


SYSTEM = System(
    "vocabtrim",
    "VocabTrim: a trimmed draft head",
    "arXiv 2506.22694, sweep of head rows (after a note of the paper)",
    "MBSU = tau / (1 + c gamma), c = draft over target weights with the head scaled",
    evidence,
    (
        Parameter("rows", "rows of the draft's head", 1, 128256, is_integer=True),
        Parameter("tau", "tokens of a round (block efficiency)", 1.0, 65.0),
        Parameter("gamma", "draft passes of a round", 1.0, 64.0, default=float(GAMMA)),
    ),
    ask,
)
