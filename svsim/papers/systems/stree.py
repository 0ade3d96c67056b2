"""STree: trees on a state-space target; one benchmark sets the step times, another follows from its tau."""

from typing import Any

from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

A_ROW = Within(relative=0.01)
SHAPES, TEMPERATURES, BOTH = ("tree", "chain"), ("0", "1"), "both"
CALIBRATED_ON = "MT-Bench"


def step_s(shape: str, temperature: str) -> float:
    """Seconds of a step, from MT-Bench at that temperature: tau over tokens per second."""
    row = next(
        row
        for row in facts("stree")["rows"]
        if (row["bench"], row["temperature"]) == (CALIBRATED_ON, temperature)
    )
    return float(row[shape]["tau"] / row[shape]["tok_s"])


def evidence(sheet: Sheet) -> None:
    """MT-Bench calibrates, HumanEval is predicted."""
    for row in facts("stree")["rows"]:
        for shape in SHAPES:
            _row(sheet, row, shape)
    chain, tree = step_s("chain", "0"), step_s("tree", "0")
    needed = tree / chain
    won = {row["bench"]: row["tree"]["tau"] / row["chain"]["tau"] for row in _at_zero()}
    shown = ", ".join(f"{ratio:.3f} on {bench}" for bench, ratio in won.items())
    sheet.say(
        f"At T = 0 a step takes {1e3 * chain:.1f} ms with a chain and {1e3 * tree:.1f} ms with the tree of "
        f"12: the tree pays where its tau is {needed:.3f} times the chain's. It is {shown}."
    )


def _at_zero() -> list[dict[str, Any]]:
    return [row for row in facts("stree")["rows"] if row["temperature"] == "0"]


def _row(sheet: Sheet, row: dict[str, Any], shape: str) -> None:
    setting = f"{row['bench']}, T = {row['temperature']}, {shape}"
    seconds = step_s(shape, row["temperature"])
    tau, published = row[shape]["tau"], row[shape]["tok_s"]
    if row["bench"] == CALIBRATED_ON:
        sheet.calibrate(setting, "tok/s", published, tau / seconds, "sets the step: tau over tok/s")
        return
    why = f"tau {tau} of this row, step of {CALIBRATED_ON}: {1e3 * seconds:.2f} ms"
    sheet.predict(setting, "tok/s", tau / seconds, why, published=published, within=A_ROW)


def ask(sheet: Sheet, values: Values) -> None:
    """Tokens per second of a tau, of every shape and temperature that is not ruled out."""
    tau = float(values["tau"])
    temperatures = _asked(values["temperature"], TEMPERATURES)
    for temperature in temperatures:
        for shape in _asked(values["shape"], SHAPES):
            seconds = step_s(shape, temperature)
            sheet.predict(
                f"{shape}, T = {temperature}, tau = {tau:g}",
                "tok/s",
                tau / seconds,
                f"a step as on {CALIBRATED_ON}: {1e3 * seconds:.2f} ms",
                within=A_ROW,
            )


def _asked(value: object, every: tuple[str, ...]) -> tuple[str, ...]:
    return every if value == BOTH else (str(value),)


SYSTEM = System(
    "stree",
    "STree: trees on state-space models",
    "arXiv 2505.14969, NeurIPS 2025, the repository's answer files",
    "tok/s = tau / step, the step of chain or tree set on MT-Bench",
    evidence,
    (
        Parameter("tau", "tokens of a step, bonus included", 1.0, 14.0),
        Parameter("shape", "what is drafted", default=BOTH, words=(*SHAPES, BOTH)),
        Parameter("temperature", "of sampling", default=BOTH, words=(*TEMPERATURES, BOTH)),
    ),
    ask,
)
