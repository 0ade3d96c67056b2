"""PEARL: draft and target run side by side; tokens per step from the tokens between two rejections."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from svsim.closed_forms import pearl_post_share, pearl_tokens_per_step
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within, score_of
from svsim.papers.system import System, facts

A_ROW, A_SPEEDUP = Within(relative=0.07), Within(relative=0.09)
ON_AVERAGE = 0.03
GAMMAS = range(1, 65)
NO_PAIR = "none"


class _Passes(NamedTuple):
    """Seconds of single passes."""

    target_only: float
    verification: float
    draft: float


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
    off = [row.error for row in sheet.rows if row.metric == "speedup" and "batch 32" in row.setting]
    least, most = min(e for e in off if e is not None), max(e for e in off if e is not None)
    sheet.say(
        f"With svsim's own prices the speedups of batch 32 come out {least:+.0%} to {most:+.0%}. These runs "
        "count prefill (over 100 steps; 200 tokens without PEARL), which the law does not."
    )
    fitted = {pair: gamma for pair, gamma in gammas.items() if pair in paper["priced_on"]}
    chosen = {pair: priced_gamma(pair) for pair in fitted}
    ratio = sum(chosen[pair] / gamma for pair, gamma in fitted.items()) / len(fitted)
    by_price, by_fit = (", ".join(map(str, found.values())) for found in (chosen, fitted))
    sheet.say(
        f"Its rule, target over draft time, would choose gamma {by_price} at svsim's prices, where {by_fit} "
        f"fit: if it was followed, its draft passes take {ratio:.1f} times the roofline's."
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
    alpha = accept_prob_of_mat(row["mat"])
    tokens = pearl_tokens_per_step(alpha, gamma)
    if row["batch"] > 1:
        steps = priced_step(row["pair"], row["batch"], gamma, alpha)
        implied = tokens * row["target_only"] / row["pearl"]
        why = (
            f"a step of {steps:.2f} target-only steps by svsim's roofline, {implied:.2f} would fit; contexts "
            "and prefill of the runs are not logged: no verdict"
        )
        sheet.predict(_setting(row), "speedup", tokens / steps, why, published=row["speedup"])
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


def priced_step(pair: str, batch: int, gamma: int, accept_prob: float) -> float:
    """max(gamma draft passes, the target's pass over 1 or gamma tokens each) over a target-only step."""
    post = pearl_post_share(accept_prob, gamma)
    seconds = _passes(pair, batch, 1.0 - post + post * gamma)
    return max(seconds.verification, gamma * seconds.draft) / seconds.target_only


def priced_gamma(pair: str) -> int:
    """What nano-PEARL's rule, target over draft time, chooses at svsim's prices; batch 1."""
    seconds = _passes(pair, 1, 1.0)
    return round(seconds.target_only / seconds.draft)


def _passes(pair: str, batch: int, tokens_each: float) -> _Passes:
    """By the roofline, on the GPUs of the runs."""
    import numpy as np

    from svsim.latency.geometry import model_geometry
    from svsim.latency.roofline import RooflineLatency
    from svsim.latency.shape import Role, StepShape

    priced = facts("pearl")["priced_on"]
    models = {role: model_geometry(name) for role, name in priced[pair].items()}
    target = RooflineLatency.of(priced["hardware"], priced["target_gpus"], models["target"])
    draft = RooflineLatency.of(priced["hardware"], priced["draft_gpus"], models["draft"])
    tokens, kv = batch * np.array([1.0, tokens_each]), batch * priced["context"]
    step_s, verification_s = target.predict_s(StepShape(Role.TARGET, batch, tokens, kv))
    (draft_s,) = draft.predict_s(StepShape(Role.TARGET, batch, tokens[:1], kv))
    return _Passes(float(step_s), float(verification_s), float(draft_s))


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
    step, pair = facts("pearl")["step_over_target_only"], str(values["pair"])
    relative_step = step["step_ms"] / step["target_only_ms"]
    why = f"a step of {relative_step:.3f} target-only steps, as {step['pair']} on H200"
    if pair != NO_PAIR:
        relative_step = priced_step(pair, batch, gamma, alpha)
        why = f"a step of {relative_step:.2f} target-only steps by svsim's roofline, H200"
    elif batch > 1:
        why = "above batch 1 it takes the prices of both models: name the pair"
        sheet.leave_open(setting, "speedup", None, why)
        return
    sheet.predict(setting, "speedup", tokens / relative_step, why, within=A_SPEEDUP)


SYSTEM = System(
    "pearl",
    "PEARL: drafting and verification side by side",
    "arXiv 2408.11850, ICLR 2025; nano-PEARL's result files",
    "two states: 1 - pi + pi (1 - a^gamma)/(1 - a) tokens per step, pi = a/(a + 1 - a^gamma), a = 1 - 1/MAT",
    evidence,
    (
        Parameter("gamma", "draft tokens of a step", 1, 1024, is_integer=True),
        Parameter("mat", "tokens between two rejections", 1.0, 1e6),
        Parameter("batch", "sequences at once", 1, 4096, default=1, is_integer=True),
        Parameter(
            "pair",
            "draft and target whose passes are priced",
            default=NO_PAIR,
            words=(
                *(NO_PAIR, "Qwen2.5-1.5B/72B", "Qwen2.5-3B/72B", "Qwen3-0.6B/32B", "Qwen3-1.7B/32B"),
                *("Llama-3.2-1B/70B", "Llama-3.2-3B/70B"),
            ),
        ),
    ),
    ask,
)
