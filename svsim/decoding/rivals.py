"""Other published methods: each a drafter, a belief and a rule of the shared parts.

Defaults are the source's; a default that the source does not state is said to be ours.
"""

from collections.abc import Mapping
from functools import partial

from svsim.decoding.beliefs import AcceptanceBelief, BinnedBelief, EntropyBound, SignalBelief
from svsim.decoding.draft_stops import companion_filter, entropy_bound, low_confidence, unlikely_path
from svsim.decoding.drafters import Drafter, HeadDrafter, ShapedHeadDrafter
from svsim.decoding.method import DecodingMethod, Losslessness, PlanBySignals, SelectByRule
from svsim.decoding.preset import CHAIN, SHAPED, Option, Preset, Value, shown
from svsim.decoding.rival_rules import (
    adaptive_entropy,
    batch_size_ladder,
    earlier_budget,
    fixed_budget,
    predicted_goodput,
    strict_rise,
)
from svsim.decoding.selection_rules import EMITTED, best_goodput
from svsim.errors import MethodError
from svsim.latency.head_shape import HeadKind
from svsim.limits import MAX_SPECULATIVE_TOKENS

Options = Mapping[str, Value]

BLIND = "the length does not depend on the draft tokens of this step"
STOPS_AFTER = "the draft stops after a token was looked at, and that token is verified all the same"
UNSEEN = "scores do not look at the token they decide about, nor does the cut"
LOOKS = "a token is kept or dropped after looking at the token itself"

K = Option(CHAIN, at_least=1)

SMARTSPEC: Mapping[str, Option] = {
    "k": K,
    "every": Option(20, at_least=1, at_most=1_000_000),
    "smoothing": Option(0.15, at_least=0.0, at_most=1.0),
    "start": Option(0.7, at_least=0.0, at_most=0.999),
    "caution": Option(1.1, at_least=1.0, at_most=10.0),
    "retry": Option(100, at_least=1, at_most=1_000_000),
}
SVIP: Mapping[str, Option] = {
    "k": K,
    "h": Option(0.3, at_least=0.0, at_most=10.0),
    "c": Option(0.15, at_least=0.0, at_most=10.0),
}
# What AdaEDL's sources at hand do not state: the controller's constants are Draft & Verify's, start is ours.
# A drafter that is accepted less often than the aim ends up drafting one token.
ADAEDL: Mapping[str, Option] = {
    "k": K,
    "gamma": Option(0.2, at_least=0.0, at_most=10.0),
    "start": Option(0.4, at_least=0.0, at_most=1.0),
    "aim": Option(0.9, at_least=0.0, at_most=1.0),
    "pace": Option(0.01, at_least=0.0, at_most=1.0),
    "forget": Option(0.5, at_least=0.0, at_most=1.0),
    "smooth": Option(0.9, at_least=0.0, at_most=1.0),
}
DISCO: Mapping[str, Option] = {"k": K, "threshold": Option(0.4, at_least=0.0, at_most=1.0)}
TETRIS: Mapping[str, Option] = {"k": K, "extra": Option(1)}
DYSPEC: Mapping[str, Option] = {"k": K, "threshold": Option(0.1, at_least=0.0, at_most=1.0)}  # ours
STAGED: Mapping[str, Option] = {"k": K}
EAGLE: Mapping[str, Option] = {
    "k": Option(3, at_least=1),  # the chain of its batch ladder on SGLang
    "head_share": Option(SHAPED, at_least=0.0, at_most=1.0),
}
SIGNALS = ("draft_entropy", "draft_confidence", "similarity")
DSPARK: Mapping[str, Option] = {
    "k": K,
    "signal": Option("draft_entropy", SIGNALS),
    "search": Option("causal", ("causal", "global")),
}
VLLM_ADAPTIVE: Mapping[str, Option] = {
    "k": K,
    "signal": Option("draft_entropy", SIGNALS),
    "lag": Option(1, at_least=1, at_most=2),
}
VLLM_LADDER: Mapping[str, Option] = {
    "ladder": Option(
        "64-3/128-1",
        pattern=r"[0-9]{1,6}-[0-9]{1,3}(/[0-9]{1,6}-[0-9]{1,3}){0,15}",
        form="a ladder of largest batch and length, as 64-3/128-1 (longer batches draft nothing)",
    )
}


def smartspec(o: Options) -> DecodingMethod:
    """SmartSpec / TurboSpec: one length for the batch, from a moving average of acceptance."""
    constants = tuple(float(o[key]) for key in ("every", "smoothing", "start", "caution", "retry"))
    return DecodingMethod(
        "smartspec",
        int(o["k"]),
        SelectByRule(predicted_goodput, constants, before_draft=True),
        why_lossless=BLIND,
        params=shown(SMARTSPEC, o),
    )


def svip(o: Options) -> DecodingMethod:
    """SVIP: the draft stops when its entropy no longer promises acceptance."""
    plan = partial(entropy_bound, factor=float(o["c"]), limit=float(o["h"]))
    return _stopping("svip", SVIP, o, PlanBySignals(("draft_entropy",), plan, stops_draft=True))


def disco(o: Options) -> DecodingMethod:
    """Hugging Face's dynamic length: the draft stops at a token of low probability."""
    plan = partial(low_confidence, threshold=float(o["threshold"]))
    return _stopping("disco", DISCO, o, PlanBySignals(("draft_prob",), plan, stops_draft=True))


def dyspec(o: Options) -> DecodingMethod:
    """DySpec on a chain: the draft stops when its path has become unlikely."""
    plan = partial(unlikely_path, threshold=float(o["threshold"]))
    return _stopping("dyspec", DYSPEC, o, PlanBySignals(("draft_prob",), plan, stops_draft=True))


def _stopping(name: str, options: Mapping[str, Option], o: Options, plan: PlanBySignals) -> DecodingMethod:
    return DecodingMethod(name, int(o["k"]), plan, why_lossless=STOPS_AFTER, params=shown(options, o))


def adaedl(o: Options) -> DecodingMethod:
    """AdaEDL: as SVIP, with a threshold that follows the acceptance of the batch."""
    constants = tuple(float(o[key]) for key in ("start", "aim", "pace", "forget", "smooth"))
    return DecodingMethod(
        "adaedl",
        int(o["k"]),
        SelectByRule(adaptive_entropy, constants, before_draft=True),
        belief=EntropyBound(float(o["gamma"])),
        why_lossless=STOPS_AFTER,
        params=shown(ADAEDL, o),
    )


def tetris(o: Options) -> DecodingMethod:
    """TETRIS: drafts k, verifies the best k - extra per sequence of the whole batch."""
    k, extra = int(o["k"]), int(o["extra"])
    if extra >= k:
        raise MethodError(f"tetris: extra={extra} leaves nothing of k={k} to verify; give a smaller extra")
    return DecodingMethod(
        "tetris",
        k,
        SelectByRule(fixed_budget, (float(extra),)),
        belief=SignalBelief("draft_prob"),
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless=LOOKS,
        params=shown(TETRIS, o),
    )


def staged(o: Options) -> DecodingMethod:
    """Staged speculation: the target verifies what the companion would have accepted."""
    return DecodingMethod(
        "staged",
        int(o["k"]),
        PlanBySignals(("companion_accept",), companion_filter, stops_draft=False, tosses_coins=True),
        uses_companion=True,
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless=LOOKS,
        params=shown(STAGED, o),
    )


def eagle(o: Options) -> DecodingMethod:
    """EAGLE-style chain: fixed length, drafted by a head on the target's hidden states.

    The head is priced by its shape on the target, or by a given share of the target's pass. The acceptance
    is that of the trace's own drafter: record or import a trace of the head.
    """
    return DecodingMethod(
        "eagle",
        int(o["k"]),
        drafter=_head(o["head_share"]),
        why_lossless=BLIND,
        params=shown(EAGLE, o),
        is_about_drafter=True,
    )


def _head(share: Value) -> Drafter:
    if share == SHAPED:
        return ShapedHeadDrafter(HeadKind.EAGLE, is_beside_model=True)
    return HeadDrafter(float(share))


def dspark(o: Options) -> DecodingMethod:
    """DSpark's scheduler on any drafter: admit by survival while goodput rises."""
    causal = o["search"] == "causal"
    return DecodingMethod(
        "dspark",
        int(o["k"]),
        SelectByRule(strict_rise) if causal else SelectByRule(best_goodput, (EMITTED, 0.0)),
        belief=_belief_in(str(o["signal"])),
        uses_companion=o["signal"] == "similarity",
        lossless=Losslessness.LOSSLESS if causal else Losslessness.GREEDY_ONLY,
        why_lossless=UNSEEN if causal else "later tokens of a chain decide about earlier ones",
        params=shown(DSPARK, o),
    )


def vllm_adaptive(o: Options) -> DecodingMethod:
    """vLLM's adaptive verification: the best slots up to a budget sized earlier."""
    return DecodingMethod(
        "vllm-adaptive",
        int(o["k"]),
        SelectByRule(
            earlier_budget, (EMITTED, 0.0, float(o["lag"])), remembers_drafts=int(o["lag"]) < int(o["k"])
        ),
        belief=_belief_in(str(o["signal"])),
        uses_companion=o["signal"] == "similarity",
        why_lossless=UNSEEN,
        params=shown(VLLM_ADAPTIVE, o),
    )


def _belief_in(signal: str) -> AcceptanceBelief:
    """A confidence head is taken at its word; acceptance given another signal is learnt."""
    return SignalBelief(signal) if signal == "draft_confidence" else BinnedBelief((signal,), num_rows=64)


def vllm_ladder(o: Options) -> DecodingMethod:
    """vLLM's batch-size ladder: the length by the number of running sequences."""
    rungs = [tuple(map(int, rung.split("-"))) for rung in str(o["ladder"]).split("/")]
    sizes, longest = [size for size, _ in rungs], max(length for _, length in rungs)
    if sizes != sorted(set(sizes)) or sizes[0] < 1 or not 1 <= longest <= MAX_SPECULATIVE_TOKENS:
        raise MethodError(
            f"vllm-ladder: ladder={o['ladder']} must rise in batch size from 1 on "
            f"and draft 1 to {MAX_SPECULATIVE_TOKENS} tokens somewhere"
        )
    return DecodingMethod(
        "vllm-ladder",
        longest,
        SelectByRule(batch_size_ladder, tuple(float(x) for rung in rungs for x in rung), before_draft=True),
        why_lossless=BLIND,
        params={"ladder": o["ladder"]},
    )


RIVALS: Mapping[str, Preset] = {
    "smartspec": Preset(
        smartspec,
        SMARTSPEC,
        "one length for the batch, by predicted goodput",
        "SmartSpec / TurboSpec, arXiv 2406.14066",
    ),
    "svip": Preset(svip, SVIP, "the draft stops when its entropy is high", "SVIP, arXiv 2411.18462"),
    "adaedl": Preset(
        adaedl,
        ADAEDL,
        "the draft stops at an entropy bound that follows acceptance",
        "AdaEDL, arXiv 2410.18351; controller of arXiv 2309.08168",
    ),
    "disco": Preset(
        disco,
        DISCO,
        "the draft stops at a token of low probability",
        "Hugging Face transformers; DISCO, arXiv 2405.04304",
    ),
    "dyspec": Preset(
        dyspec, DYSPEC, "the draft stops when its path is unlikely (chain form)", "DySpec, arXiv 2410.11744"
    ),
    "tetris": Preset(
        tetris, TETRIS, "verifies the batch's most likely tokens, a fixed number", "TETRIS, arXiv 2502.15197"
    ),
    "staged": Preset(
        staged,
        STAGED,
        "the companion filters the draft by its own acceptance",
        "Staged speculation, arXiv 2308.04623, as in 2509.24328",
    ),
    "eagle": Preset(
        eagle, EAGLE, "fixed length, drafted by a head on the target", "EAGLE, arXiv 2401.15077, 2503.01840"
    ),
    "dspark": Preset(
        dspark, DSPARK, "admits by survival while goodput rises", "DSpark, arXiv 2607.05147, algorithm 1"
    ),
    "vllm-adaptive": Preset(
        vllm_adaptive,
        VLLM_ADAPTIVE,
        "the likeliest tokens up to a budget sized earlier",
        "vLLM adaptive verification, documentation of v0.32",
    ),
    "vllm-ladder": Preset(
        vllm_ladder,
        VLLM_LADDER,
        "the length by the number of running sequences",
        "vLLM num_speculative_tokens_per_batch_size",
    ),
}
