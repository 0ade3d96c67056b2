"""PEARL: draft and target run side by side; tokens per step from the tokens between two rejections."""

from collections.abc import Iterator, Mapping
from typing import Any

from svsim.closed_forms import pearl_post_share, pearl_tokens_per_step
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within, score_of
from svsim.papers.system import System, facts

A_ROW, A_SPEEDUP = Within(relative=0.07), Within(relative=0.09)
ON_AVERAGE = 0.03
GAMMAS = range(1, 65)


def accept_prob_of_mat(mat: float) -> float:
    """nano-PEARL's MAT is the mean number of tokens between two rejections: 1 / (1 - a)."""
    return 1.0 - 1.0 / mat


def evidence(sheet: Sheet) -> None:
    """Tokens per step of every row that prints them; speedups of batch 1, on one pair's step time."""
    paper = facts("pearl")
    step, gammas = paper["step_over_target_only"], paper["fitted_gamma"]
    relative_step = step["step_ms"] / step["target_only_ms"]
    for pair in dict.fromkeys(row["pair"] for row in paper["rows"]):
        sheet.calibrate(
            pair, "gamma", None, gammas[pair], f"{gammas['source']}: one whole number for all its rows"
        )
    for row in paper["rows"]:
        _tokens(sheet, row, gammas[row["pair"]])
    average = score_of(sheet.rows).mean_error or 0.0
    for row in paper["rows"]:
        _speedup(sheet, row, gammas[row["pair"]], relative_step, _is_row_of(step, row))
    alone = ", ".join(f"{pair} {gamma}" for pair, gamma in _gammas_of_one_row(paper["rows"]))
    sheet.say(
        f"Mean error of tokens per step {average:.1%} (asked: at most {ON_AVERAGE:.0%}). HumanEval's row of "
        f"batch 1 alone would choose gamma {alone}: the fit over all rows hardly moves what is predicted."
    )
    sheet.say(
        "MAT counts tokens between two rejections, over many target passes; tokens per step are fewer: "
        "Llama-3.2-3B/70B has MAT 20.98 and 4.73 tokens a step."
    )


def _tokens(sheet: Sheet, row: Mapping[str, Any], gamma: int) -> None:
    alpha = accept_prob_of_mat(row["mat"])
    if "tokens_per_step" in row:
        sheet.predict(
            _setting(row),
            "tokens per step",
            pearl_tokens_per_step(alpha, gamma),
            f"alpha = 1 - 1/MAT = {alpha:.3f} of this row, gamma {gamma} of the pair",
            published=row["tokens_per_step"],
            within=A_ROW,
        )


def _speedup(
    sheet: Sheet, row: Mapping[str, Any], gamma: int, relative_step: float, is_calibration: bool
) -> None:
    tokens = pearl_tokens_per_step(accept_prob_of_mat(row["mat"]), gamma)
    if row["batch"] > 1:
        steps = tokens * row["target_only"] / row["pearl"]
        why = (
            f"a step would have to last {steps:.2f} target-only steps: at this batch it takes the prices of "
            "both models"
        )
        sheet.leave_open(_setting(row), "speedup", row["speedup"], why)
    elif is_calibration:
        why = f"its step lasts {relative_step:.3f} target-only steps: the one price taken"
        sheet.calibrate(_setting(row), "speedup", row["speedup"], tokens / relative_step, why)
    else:
        why = f"tokens per step over {relative_step:.3f} target-only steps, the price of another pair"
        sheet.predict(
            _setting(row),
            "speedup",
            tokens / relative_step,
            why,
            published=row["speedup"],
            within=A_SPEEDUP,
        )


def _gammas_of_one_row(rows: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """The gamma that a pair's HumanEval row of batch 1 would choose by itself."""
    for row in rows:
        if (row["data"], row["batch"]) == ("HumanEval", 1):
            alpha, tokens = accept_prob_of_mat(row["mat"]), row["tokens_per_step"]
            yield row["pair"], fitted_gamma(alpha, tokens)


def fitted_gamma(accept_prob: float, tokens: float) -> int:
    """The whole number whose tokens per step come closest."""
    return min(GAMMAS, key=lambda gamma: abs(pearl_tokens_per_step(accept_prob, gamma) - tokens))


def _is_row_of(step: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return all(step[name] == row[name] for name in ("pair", "data", "batch"))


def _setting(row: Mapping[str, Any]) -> str:
    return f"{row['pair']}, {row['data']}, batch {row['batch']}"


def ask(sheet: Sheet, values: Values) -> None:
    """Tokens per step, and at batch 1 the speedup."""
    mat, gamma, batch = float(values["mat"]), int(values["gamma"]), int(values["batch"])
    alpha = accept_prob_of_mat(mat)
    setting = f"gamma = {gamma}, MAT = {mat:g}, batch {batch}"
    tokens = pearl_tokens_per_step(alpha, gamma)
    sheet.predict(
        setting,
        "tokens per step",
        tokens,
        f"alpha = 1 - 1/MAT = {alpha:.4f}; {pearl_post_share(alpha, gamma):.0%} of steps verify a block",
        within=A_ROW,
    )
    step = facts("pearl")["step_over_target_only"]
    relative_step = step["step_ms"] / step["target_only_ms"]
    if batch == 1:
        why = f"a step of {relative_step:.3f} target-only steps, as {step['pair']} on H200"
        sheet.predict(setting, "speedup", tokens / relative_step, why, within=A_SPEEDUP)
    else:
        why = "above batch 1 it takes the prices of both models, which a replay on a trace has"
        sheet.leave_open(setting, "speedup", None, why)


SYSTEM = System(
    "pearl",
    "PEARL: drafting and verification side by side",
    "arXiv 2408.11850, ICLR 2025; nano-PEARL's result files",
    "two states: 1 - pi + pi (1 - a^gamma)/(1 - a) tokens per step, pi = a/(a + 1 - a^gamma), a = 1 - 1/MAT",
    evidence,
    (
        Parameter("gamma", "draft tokens of a step", 1, 1024, is_integer=True),
        Parameter("mat", "tokens between two rejections", 1.0, 1e6),
        Parameter("batch", "sequences at once", 1, 65536, default=1, is_integer=True),
    ),
    ask,
)
