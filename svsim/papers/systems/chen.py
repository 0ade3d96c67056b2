"""Speculative sampling of Chen et al.: what their times per token imply."""

from svsim.closed_forms import accept_prob_of, round_speedup, tokens_per_round
from svsim.papers.parameters import Parameter, Values
from svsim.papers.rows import Sheet, Within
from svsim.papers.system import System, facts

ROUNDING = Within(absolute=0.01)
SAME_NUMBER = Within(relative=0.05)


def evidence(sheet: Sheet) -> None:
    """Speedups from the printed times; the least tokens of a loop, and the length they would favour."""
    paper = facts("chen")
    num_drafts, step_ms, draft_ms = paper["num_draft_tokens"], paper["step_ms"], paper["draft_ms"]
    loop_ms = step_ms + num_drafts * draft_ms
    for row in paper["table_1"]:
        sheet.predict(
            row["setting"],
            "speedup",
            step_ms / row["token_ms"],
            f"{step_ms} ms of target-only decoding over the printed {row['token_ms']} ms",
            published=row["speedup"],
            within=ROUNDING,
        )
        sheet.predict(
            row["setting"],
            "tokens per loop, at least",
            loop_ms / row["token_ms"],
            f"a loop takes at least {step_ms} + {num_drafts} x {draft_ms} = {loop_ms:.1f} ms and yields at "
            f"most {num_drafts + 1}; its real time is not printed",
        )
    _favoured_length(sheet, loop_ms)
    first = paper["table_1"][0]
    sheet.contradict(
        f"{first['setting']}: {step_ms} / {first['token_ms']} = {step_ms / first['token_ms']:.3f} is printed "
        f"as {first['speedup']}: its baseline was another one "
        f"({first['speedup'] * first['token_ms']:.1f} ms)."
    )


def _favoured_length(sheet: Sheet, loop_ms: float) -> None:
    """The best K on XSum if the loop takes no longer than its passes."""
    paper = facts("chen")
    c = paper["draft_ms"] / paper["step_ms"]
    tokens = loop_ms / paper["table_1"][0]["token_ms"]
    alpha = accept_prob_of(tokens, paper["num_draft_tokens"])
    speedups = {k: round_speedup(tokens_per_round(alpha, k), k, c) for k in range(1, 11)}
    best = max(speedups, key=speedups.__getitem__)
    printed = paper["best_num_draft_tokens_xsum"]
    loss = 1 - speedups[printed] / speedups[best]
    sheet.predict(
        "XSum",
        "best K",
        best,
        f"alpha {alpha:.2f} from the least loop; K = {printed} is {loss:.1%} behind, so any cost of a longer "
        "verification, which is not printed, decides: no verdict",
        published=printed,
    )


def ask(sheet: Sheet, values: Values) -> None:
    """What a time per token says of a loop."""
    num_drafts, step_ms = int(values["k"]), float(values["step_ms"])
    token_ms = float(values["token_ms"])
    loop_ms = step_ms + num_drafts * float(values["draft_ms"])
    setting = f"K = {num_drafts}, {token_ms:g} ms a token"
    sheet.predict(setting, "speedup", step_ms / token_ms, "target-only over this", within=ROUNDING)
    tokens = loop_ms / token_ms
    sheet.predict(
        setting,
        "tokens per loop, at least",
        tokens,
        f"a loop of at least {loop_ms:.1f} ms; at most {num_drafts + 1} are possible"
        + (", so these times do not belong together" if tokens > num_drafts + 1 else ""),
        within=SAME_NUMBER,
    )


SYSTEM = System(
    "chen",
    "Speculative sampling: what printed times imply",
    "Chen et al., arXiv 2302.01318, table 1",
    "loop >= step + K draft passes; tokens of a loop = loop / time per token <= K + 1",
    evidence,
    (
        Parameter("token_ms", "milliseconds per token", 0.001, 1e6),
        Parameter("k", "draft tokens of a loop", 1, 1024, default=4, is_integer=True),
        Parameter("step_ms", "milliseconds of a target-only step", 0.001, 1e6, default=14.1),
        Parameter("draft_ms", "milliseconds of a draft pass", 0.0, 1e6, default=1.8),
    ),
    ask,
)
