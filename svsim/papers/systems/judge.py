"""Judge decoding: a head lets some mismatches pass; the one free share that its one number sets."""

from svsim.closed_forms import accept_prob_of, second_chance_accept_prob, tokens_per_round
from svsim.errors import InputError
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

NEAR = Within(relative=0.05)


def accepted_with(standard: float, num_draft_tokens: int, share: float) -> float:
    """Accepted tokens of a round if a share of the rejected ones passes; i.i.d."""
    alpha = accept_prob_of(standard + 1.0, num_draft_tokens)
    return tokens_per_round(second_chance_accept_prob(alpha, share), num_draft_tokens) - 1.0


def evidence(sheet: Sheet) -> None:
    """6.3 to 19.7 accepted tokens set the share of rejected tokens that pass; nothing is left to predict."""
    paper = facts("judge")
    standard, judged = paper["accepted"]["standard"], paper["accepted"]["judged"]
    drafts = paper["num_draft_tokens"]
    before, after = (accept_prob_of(tokens + 1.0, drafts) for tokens in (standard, judged))
    share = (after - before) / (1.0 - before)
    setting = f"8B with 405B, {drafts} drafts assumed"
    sheet.take(setting, "accepted tokens, standard", standard, "acceptance without the judge")
    sheet.calibrate(
        setting,
        "accepted tokens, judged",
        judged,
        accepted_with(standard, drafts, share),
        f"sets the one free number: {share:.1%} of rejected tokens pass",
    )
    sheet.leave_open(
        setting, "quality", None, "threshold, draft length and quality table not found; lossy by design"
    )
    sheet.say(
        f"Acceptance of {before:.3f} a token becomes {after:.3f} if {share:.1%} of the rejected tokens pass: "
        "one number with one free share, so nothing is confirmed. Whether the bonus token counts is not said."
    )


def ask(sheet: Sheet, values: Values) -> None:
    """Accepted tokens of a share."""
    standard, drafts, share = float(values["accepted"]), int(values["k"]), float(values["share"])
    if standard > drafts:
        raise InputError(f"`accepted` {standard:g} is more than `k` {drafts} draft tokens; give more drafts")
    setting = f"{standard:g} accepted without the judge, {drafts} drafts, {share:.0%} of rejected pass"
    found = accepted_with(standard, drafts, share)
    sheet.predict(setting, "accepted tokens", found, "i.i.d. acceptance, independent judge", within=NEAR)
    if values["speedup"]:
        speedup, tok_s = float(values["speedup"]), float(values["tok_s"])
        why = f"{found:.2f} accepted and a bonus token a round, {speedup:g} tokens a target-only step"
        sheet.predict(setting, "round, target-only steps", (found + 1.0) / speedup, why, within=NEAR)
        if tok_s:
            why = f"{speedup:g} over {tok_s:g} tok/s"
            sheet.predict(setting, "target-only step, ms", 1e3 * speedup / tok_s, why, within=NEAR)


SYSTEM = System(
    "judge",
    "Judge decoding (lossy)",
    "arXiv 2501.19309, ICLR 2025 (after a note of the paper)",
    "a + (1 - a) share; tokens of a round from it",
    evidence,
    (
        Parameter("share", "share of rejected tokens that pass", 0.0, 1.0),
        Parameter("k", "draft tokens of a round", 1, 255, default=25, is_integer=True),
        Parameter("speedup", "measured speedup; 0: none", 0.0, 1e3, default=0.0),
        Parameter("tok_s", "measured tokens per second; 0: none", 0.0, 1e9, default=0.0),
        Parameter("accepted", "accepted tokens of a round without the judge", 0.0, 255.0, default=6.3),
    ),
    ask,
)
