"""Speculative decoding as Leviathan et al. gave it: their closed forms against their own tables."""

from svsim.closed_forms import operations_factor, round_speedup, tokens_per_round
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

EXPECTED = Within(absolute=0.07)  # alpha and c are printed with two digits
TABLE_1 = Within(absolute=0.005)
FROM_INPUTS = (
    "from the row's printed alpha, gamma and c, i.i.d. acceptance, a verification as long as one step"
)


def evidence(sheet: Sheet) -> None:
    """Table 4's expected column and table 1 follow from their inputs; the measured column does not."""
    ratios, off_print = [], 0
    for row in facts("leviathan")["table_4"]:
        setting = f"{row['task']}, {row['draft']}, T = {row['temperature']}, gamma = {row['gamma']}"
        speedup = round_speedup(tokens_per_round(row["alpha"], row["gamma"]), row["gamma"], row["c"])
        sheet.predict(
            setting, "expected speedup", speedup, FROM_INPUTS, published=row["expected"], within=EXPECTED
        )
        sheet.predict(
            setting,
            "measured speedup",
            speedup,
            "real acceptance is no coin of one chance, and verification takes its time: no verdict",
            published=row["measured"],
        )
        ratios.append(row["measured"] / speedup)
        off_print += abs(speedup - row["expected"]) > 0.05
    for row in facts("leviathan")["table_1"]:
        setting = f"alpha = {row['alpha']}, gamma = {row['gamma']}, free drafts"
        why = "from alpha and gamma alone"
        tokens = tokens_per_round(row["alpha"], row["gamma"])
        sheet.predict(setting, "speedup", tokens, why, published=row["speed"], within=TABLE_1)
        operations = operations_factor(row["alpha"], row["gamma"], 0.0)
        sheet.predict(setting, "operations", operations, why, published=row["operations"], within=TABLE_1)
    sheet.say(
        f"Measured speedups are {min(ratios):.2f} to {max(ratios):.2f} of the closed form: it predicts its "
        f"own expectation, not the clock. {off_print} of {len(ratios)} expected speedups do not round to the "
        "print: their alpha and c have two digits."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """Tokens, speedup and operations of one setting."""
    alpha, gamma, c = float(values["alpha"]), int(values["gamma"]), float(values["c"])
    setting = f"alpha = {alpha:g}, gamma = {gamma}, c = {c:g}"
    tokens = tokens_per_round(alpha, gamma)
    why = "i.i.d. acceptance, a verification as long as one step"
    speedup = round_speedup(tokens, gamma, c)
    sheet.predict(setting, "speedup", speedup, why, within=EXPECTED)
    sheet.predict(setting, "tokens per round", tokens, "bonus token included", within=TABLE_1)
    operations = operations_factor(alpha, gamma, float(values["c_hat"]))
    sheet.predict(setting, "operations", operations, "arithmetic per token, over target-only", within=TABLE_1)


ALPHA = Parameter("alpha", "chance that a draft token is accepted", 0.0, 1.0)

SYSTEM = System(
    "leviathan",
    "Speculative decoding: closed forms",
    "Leviathan et al., arXiv 2211.17192, tables 1 and 4",
    "(1 - a^(k+1)) / ((1 - a)(k c + 1)) from printed alpha, gamma and c",
    evidence,
    (
        ALPHA,
        Parameter("gamma", "draft tokens of a round", 0, 1024, is_integer=True),
        Parameter("c", "time of a draft pass over the target's", 0.0, 10.0, default=0.0),
        Parameter("c_hat", "operations of a draft token over the target's", 0.0, 10.0, default=0.0),
    ),
    ask,
)
