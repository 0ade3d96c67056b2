"""Claims about costs, savings, fairness and signals: the tables."""

import numpy as np

from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.papers.rows import Verdict
from svsim.papers.sv_paper.savings import mean_context_tokens
from svsim.papers.sv_paper.signals import CELLS
from svsim.papers.sv_paper.step_times import HARDWARE, TENSOR_PARALLEL
from svsim.papers.sv_paper.verdicts import AGREES, Claim, Evidence, decided, percents
from svsim.random_streams import RandomStreams
from svsim.speculation_math import Floats

PROMPT_TOKENS = (200, 512)

# Triples of table 4 whose shapes are known: target, draft, companion, GPUs.
_TRIPLES = (
    ("qwen2.5-72b", "qwen2.5-0.5b", "qwen2.5-1.5b"),
    ("codellama-34b", "amd-llama-135m", "tinyllama-1.1b"),
    ("llama-2-13b", "llama-68m", "llama-160m"),
    ("llama-3.3-70b", "llama-3.2-1b", "llama-3.2-3b"),
    ("qwen3-32b", "qwen3-0.6b", "qwen3-1.7b"),
    ("qwen2.5-32b", "qwen2.5-0.5b", "qwen2.5-3b"),
)


def companion_compute(e: Evidence) -> Claim:
    """Operations that the companion adds."""
    shares = [s.companion_share for s in e.savings]
    published = [row.companion_share for row in e.published.savings]
    rounding = [0.5 / row.tflop_sd for row in e.published.savings]
    low, high = min(published) - max(rounding), max(published) + max(rounding)
    return Claim(
        "Compute added by the companion",
        "text, table 3",
        "the companion adds 1.3 to 5.3 % of compute",
        decided(all(low <= s <= high for s in shares)),
        "Operations of the companion over SD(5)'s verification, from the model shapes: "
        f"{', '.join(f'{s:.1%}' for s in shares)} by panel; table 3 has {min(published):.1%} to "
        f"{max(published):.1%}.",
    )


def companion_memory(e: Evidence) -> Claim:
    """Memory that the companion adds."""
    tokens = 32 * mean_context_tokens(e.panels[0].acceptance)

    def size(model: ModelGeometry) -> float:
        return model.weight_bytes + tokens * model.kv_bytes_per_token

    shares = []
    for names in _TRIPLES:
        target, draft, companion = map(model_geometry, names)
        shares.append(size(companion) / (size(target) + size(draft)))
    low, high = min(shares), max(shares)
    return Claim(
        "Memory added by the companion",
        "text",
        "the companion adds 2.8 to 8.1 % of memory",
        decided(abs(high - 0.081) <= 0.02 and abs(low - 0.028) <= 0.02),
        f"Weights and KV cache (batch 32, {tokens / 32:,.0f} tokens each) of the companion over those of "
        f"target and draft, six triples of table 4: {low:.1%} to {high:.1%}. How much KV cache, activations "
        "and graphs the paper counts is not said.",
    )


def prefill(e: Evidence) -> Claim:
    """What a third model costs before decoding."""
    found = []
    for result in (e.panels[0], e.panels[1]):
        models = [result.panel.models[role] for role in Role]
        roofline = RooflineLatency.of(HARDWARE, TENSOR_PARALLEL, *models)
        for tokens in PROMPT_TOKENS:
            seconds = [float(roofline.predict_s(StepShape(role, 1, tokens, 0))) for role in Role]
            found.append(seconds[2] / (seconds[0] + seconds[1]))
    return Claim(
        "Cost of SV's prefill",
        "text",
        "SV's prefill is about 10 % slower than SD's",
        decided(min(found) <= 0.10 <= max(found)),
        "A companion on one GPU, its prefill after the others', by the roofline of 2 x A100 PCIe: "
        f"{min(found):.1%} to {max(found):.1%} longer for prompts of {PROMPT_TOKENS[0]} and "
        f"{PROMPT_TOKENS[1]} tokens. Launches and scheduling of a third model, which a roofline does not "
        "hold, would explain the rest; the prompts' lengths are not published.",
    )


def verification_saved(e: Evidence) -> Claim:
    """Table 3's savings."""
    rows = {row.name.split()[0]: row for row in e.published.savings}
    llama, code = e.savings[0], [s for s in e.savings if s.panel.startswith("CodeLlama")]
    low, high = (f(s.saved_share for s in code) for f in (min, max))
    agrees = (
        abs(llama.saved_share - rows["Llama2"].saved_share) <= AGREES
        and min(abs(s.saved_share - rows["CodeLlama"].saved_share) for s in code) <= AGREES
    )
    return Claim(
        "Verification saved",
        "table 3",
        f"verification operations fall by {rows['Llama2'].saved_share:.1%} (Llama-2-13B) and "
        f"{rows['CodeLlama'].saved_share:.1%} (CodeLlama-34B)",
        decided(agrees),
        f"Predicted per emitted token: {llama.saved_share:.0%} on Llama-2-13B/HumanEvalPack and {low:.0%} to "
        f"{high:.0%} on CodeLlama-34B. With CodeLlama's published rate even target-only decoding would save "
        f"only {1 - (1 + 5 * rows['CodeLlama'].accept_rate_sd) / 6:.0%}, if the bonus row is counted.",
    )


def table_3_is_consistent(e: Evidence) -> Claim:
    """Whether table 3's columns can belong together."""
    without = [i.row.name for i in e.implied if not i.is_possible]
    return Claim(
        "Table 3's columns belong together",
        "table 3",
        "rates of SD and SV and operations saved describe the same steps",
        decided(not without),
        "At a rate r and g verified tokens per step an emitted token costs (1 + g)/(1 + r g) target tokens, "
        f"or g/(1 + r g) without the bonus row. For {len(without)} of {len(e.implied)} triples no g from 0 "
        f"to 5 gives the saving, whatever the rounding: {'; '.join(without) or 'none'}. A mean of rates over "
        "steps (instead of accepted over verified tokens), or prefill in the counts, would explain it.",
    )


def fairness(e: Evidence) -> Claim:
    """Table 9."""
    table = e.published.tables["table_9"]
    lowest = float(np.mean(list(table["bottom5"].values())))
    found = [float(np.mean(f.lowest)) for f in e.fairness]
    never = sum(f.never_verified for f in e.fairness)
    best = max(found)
    return Claim(
        "No request is neglected",
        "table 9",
        f"the five requests with the shortest verification still get {lowest:.2f} of 5 tokens per step",
        decided(never == 0 and best >= lowest),
        f"Predicted mean of the lowest five: {', '.join(f'{x:.2f}' for x in found)} by panel; requests "
        f"without any verified token: {never}. Which models table 9 shows is not said; a minimum of 2.9 "
        "needs acceptance as high as CodeLlama's.",
    )


def resolution(e: Evidence) -> Claim:
    """Table 1's shape."""
    if not e.signals:
        return _no_traces("More bins tell more", "table 1", "the gain grows with the resolution of (S, A)")
    finest_square = CELLS.index("20x20")
    rising = [
        s.file
        for s in e.signals
        if all((np.diff(r.corrected_bits[: finest_square + 1]) >= 0).all() for r in s.resolutions)
    ]
    table = e.published.tables["table_1"]
    growth = [table[k]["gain_bits"][2] / table[k]["gain_bits"][0] - 1 for k in ("chat", "code")]
    ours = [r.corrected_bits[2] / r.corrected_bits[0] - 1 for s in e.signals for r in s.resolutions]
    return Claim(
        "More bins tell more",
        "table 1",
        "the gain grows with the resolution of (S, A), a little at each step",
        decided(len(rising) == len(e.signals)),
        f"On {len(rising)} of {len(e.signals)} traces the shuffle-corrected gain rises from 5x5 over 10x10 "
        f"to 20x20 for 4, 5 and 10 bins of X, by {min(ours):.0%} to {max(ours):.0%} in all (paper: "
        f"{percents(growth)}). Other models, so only the shape is comparable.",
    )


def positive_gain(e: Evidence) -> Claim:
    """Tables 2 and 7."""
    name, where = "Every pair tells something", "tables 2 and 7"
    statement = "all 90 draft-companion pairs have a positive gain (0.03 to 0.60 bits)"
    gains = [
        min(r.corrected_bits[1] for r in s.resolutions) for s in e.signals if s.acceptance_kind == "captured"
    ]
    if not gains:
        return _no_traces(name, where, statement)
    return Claim(
        name,
        where,
        statement,
        Verdict.NOT_TESTABLE if all(g > 0 for g in gains) else Verdict.NOT_CONFIRMED,
        f"The 90 pairs are not at hand. Of the captured traces here {sum(g > 0 for g in gains)} of "
        f"{len(gains)} have a positive gain after shuffle correction ({min(gains):.2f} to {max(gains):.2f} "
        "bits at 10x10).",
    )


def overlap_correlation(e: Evidence) -> Claim:
    """Table 8."""
    where, statement = "table 8", "S correlates with the draft-target overlap at 0.72 to 0.87"
    captured = [s for s in e.signals if s.acceptance_kind == "captured"]
    if not captured:
        return _no_traces("S follows the target overlap", where, statement)
    found = [s.overlap_correlation or 0.0 for s in captured]
    return Claim(
        "S follows the target overlap",
        where,
        statement,
        decided(all(abs(x - 0.80) <= 0.15 for x in found)),
        f"Captured traces of small models on a CPU: {min(found):.2f} to {max(found):.2f}. Other models, same "
        "size.",
    )


def _no_traces(name: str, where: str, statement: str) -> Claim:
    reason = "No trace with S, A and acceptance probabilities was found; name some with --trace."
    return Claim(name, where, statement, Verdict.NOT_TESTABLE, reason)


def lossless(e: Evidence) -> Claim:
    """Section 4.2."""
    generator = RandomStreams(0).generator("bias of a token-dependent rule")
    biases = [_total_variation(*generator.dirichlet(np.ones(8), 3)) for _ in range(500)]
    mean = float(np.mean(biases))
    return Claim(
        "Dropping draft tokens keeps the target's law",
        "section 4.2",
        "adaptive verification never alters the target's distribution",
        decided(max(biases) < 1e-9),
        "SV decides whether to keep a token by A, which looks at that token: kept when it looks good, drawn "
        "anew when not. Exact sums for `keep if A >= 0.6`, vocabulary of 8, 500 random models: total "
        f"variation {mean:.2f} on average. It vanishes for greedy targets; the experiments sample (table 5: "
        "temperature 0.6 to 0.95). sv-lossless avoids it (docs/losslessness.md).",
    )


def _total_variation(target: Floats, draft: Floats, companion: Floats) -> float:
    """Between the target's law and what is emitted when a draft token is verified only if A >= 0.6."""
    kept = companion >= 0.6 * draft
    rejected = np.maximum(draft - target, 0.0)
    recovered = np.maximum(target - draft, 0.0) * (rejected[kept].sum() / rejected.sum())
    emitted = kept * np.minimum(target, draft) + recovered + draft[~kept].sum() * target
    return float(np.abs(emitted - target).sum() / 2.0)


def text_repeats_tables(e: Evidence) -> Claim:
    """The text against the tables."""
    shares = [row.saved_share for row in e.published.savings]
    table_2, table_7 = (
        e.published.tables["table_2"]["Llama-2-13B-chat"][0],
        e.published.tables["table_7"]["least"],
    )
    return Claim(
        "The text repeats the tables",
        "tables 2, 3, 7",
        "verification falls by 21 to 41 %; the least gain on Llama-2-13B is 0.07 bits",
        decided(abs(max(shares) - 0.41) < 0.01 and table_2 == table_7),
        f"Table 3 itself gives {min(shares):.1%} to {max(shares):.1%}; table 7's least gain is {table_7:.2f} "
        f"bits where table 2 has {table_2:.2f}.",
    )
