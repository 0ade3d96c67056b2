"""The methods by name, as the command line spells them: ``sv:k=7,objective=accepted``."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Literal

from svsim.decoding.beliefs import BinnedBelief, CausalBelief
from svsim.decoding.block_methods import BLOCK_METHODS
from svsim.decoding.drafting_methods import DRAFTING_METHODS, trimmable
from svsim.decoding.exit_methods import EXIT_METHODS
from svsim.decoding.joint import JOINT_PRESET
from svsim.decoding.lossy_methods import LOSSY_METHODS
from svsim.decoding.method import DecodingMethod, Losslessness, OraclePlan, SelectByRule
from svsim.decoding.parallel_methods import PARALLEL_METHODS
from svsim.decoding.pipelines import DRAFT_SLOWDOWN, SERIAL, VERIFY_SLOWDOWN, Pipeline
from svsim.decoding.preset import CHAIN, RECORDED, Option, Preset, Value, shown
from svsim.decoding.rivals import RIVALS
from svsim.decoding.selection_rules import (
    ACCEPTED,
    EMITTED,
    best_goodput,
    causal_goodput,
    first_drop_goodput,
)
from svsim.decoding.switching import CatchUp, EntropySwitching, Start
from svsim.decoding.tree_methods import TREE_METHODS
from svsim.errors import MethodError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.trace.accept_histogram import HISTOGRAM


def target_only() -> DecodingMethod:
    """Target-only decoding (TD)."""
    return DecodingMethod("td", 0, why_lossless="the target samples every token")


def fixed_length(k: int) -> DecodingMethod:
    """Speculative decoding with k draft tokens, all verified."""
    return DecodingMethod(
        "sd", k, params={"k": k}, why_lossless="the length does not depend on the draft tokens"
    )


def speculative_verification(options: Mapping[str, Value]) -> DecodingMethod:
    """Speculative Verification with k draft tokens; only options that differ from the default show."""
    k, min_verify = int(options["k"]), int(options["min_verify"])
    if min_verify > k:
        raise MethodError(f"sv: min_verify={min_verify} exceeds k={k}")
    return DecodingMethod(
        "sv",
        k,
        SelectByRule(
            best_goodput if options["stop"] == "argmax" else first_drop_goodput,
            (EMITTED if options["objective"] == "emitted" else ACCEPTED, float(min_verify)),
        ),
        belief=BinnedBelief(),
        pipeline=_pipeline(options),
        uses_companion=True,
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless="a token is kept or redrawn after looking at the token itself (through A)",
        params=shown(SV_OPTIONS, options),
    )


def lossless_verification(options: Mapping[str, Value]) -> DecodingMethod:
    """Speculative Verification that keeps the target's law under sampling.

    ``unseen``: what is believed of a token before it is looked at, by the draft's law of A at its place
    (``histogram``) or by S alone (``similarity``).
    """
    return DecodingMethod(
        "sv-lossless",
        int(options["k"]),
        SelectByRule(causal_goodput),
        belief=CausalBelief(histogram=options["unseen"] == "histogram"),
        pipeline=_pipeline(options),
        uses_companion=True,
        lossless=Losslessness.LOSSLESS,
        why_lossless="whether a token is verified is decided without looking at it or at what follows it",
        params=shown(LOSSLESS_OPTIONS, options),
    )


def _pipeline(options: Mapping[str, Value]) -> Pipeline:
    if options["overlap"] == "none":
        if (options["draft_slowdown"], options["verify_slowdown"]) != (DRAFT_SLOWDOWN, VERIFY_SLOWDOWN):
            raise MethodError("draft_slowdown and verify_slowdown do nothing without overlap=half or full")
        return SERIAL
    overlap: Literal["half", "full"] = "half" if options["overlap"] == "half" else "full"
    return Pipeline(overlap, float(options["draft_slowdown"]), float(options["verify_slowdown"]))


def entropy_adaptive(options: Mapping[str, Value]) -> DecodingMethod:
    """EAD: the target writes where its entropy is high, the draft model where it is low. Lossy."""
    rule = EntropySwitching(
        int(options["w"]),
        int(options["dwell"]),
        float(options["tau"]),
        CatchUp(str(options["catch_up"])),
        Start(str(options["start"])),
    )
    return DecodingMethod(
        "ead",
        0,
        lossless=Losslessness.LOSSY,
        why_lossless="whole stretches of the text are the small model's own, unverified",
        params=shown(EAD_OPTIONS, options),
        switching=rule,
    )


def oracle(k: int, draft: str = "all") -> DecodingMethod:
    """Bound: verifies exactly what will be accepted; with draft=exact drafts only that."""
    return DecodingMethod(
        "oracle",
        k,
        OraclePlan(drafts_exactly=draft == "exact"),
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless="a bound: it looks at the target's answer before choosing",
        params={"k": k, **({"draft": draft} if draft != "all" else {})},
    )


def knowing_acceptance(k: int) -> DecodingMethod:
    """Bound: Speculative Verification whose belief is the target's acceptance probability itself."""
    return DecodingMethod(
        "oracle-belief",
        k,
        SelectByRule(best_goodput, knows_target=True),
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless="a bound: it knows the target's acceptance probabilities, though not the coins",
        params={"k": k},
    )


OVERLAP_OPTIONS: Mapping[str, Option] = {
    "overlap": Option("none", ("none", "half", "full")),
    "draft_slowdown": Option(DRAFT_SLOWDOWN, at_least=0.1, at_most=100),
    "verify_slowdown": Option(VERIFY_SLOWDOWN, at_least=0.1, at_most=100),
}
SV_OPTIONS: Mapping[str, Option] = {
    "k": Option(7, at_least=1),
    "objective": Option("emitted", ("emitted", "accepted")),
    "stop": Option("argmax", ("argmax", "first-drop")),
    "min_verify": Option(0),
    **OVERLAP_OPTIONS,
}
LOSSLESS_OPTIONS: Mapping[str, Option] = {
    "k": Option(7, at_least=1),
    "unseen": Option(RECORDED, ("histogram", "similarity")),
    **OVERLAP_OPTIONS,
}

EAD_OPTIONS: Mapping[str, Option] = {
    "w": Option(5, at_least=1, at_most=4096),
    "dwell": Option(10, at_least=1, at_most=65536),
    "tau": Option(1.0, at_least=0.0, at_most=32.0),  # ours
    "catch_up": Option("prefill", tuple(CatchUp)),
    "start": Option("large", tuple(Start)),  # ours
}

_DRAFTING: Mapping[str, Preset] = {
    "sd": Preset(
        lambda o: fixed_length(int(o["k"])),
        {"k": Option(5, at_least=1)},
        "speculative decoding, fixed length k",
        "Leviathan et al., arXiv 2211.17192",
    ),
    "sv": Preset(
        speculative_verification,
        SV_OPTIONS,
        "Speculative Verification: a companion's signals choose what to verify",
        "arXiv 2509.24328",
    ),
    "sv-lossless": Preset(
        lossless_verification,
        LOSSLESS_OPTIONS,
        "Speculative Verification that keeps the target's law when sampling",
        "arXiv 2509.24328, made causal",
    ),
    **RIVALS,
    **DRAFTING_METHODS,
}
PRESETS: Mapping[str, Preset] = {
    "td": Preset(lambda o: target_only(), {}, "target-only decoding: no speculation", "baseline"),
    **{name: trimmable(preset) for name, preset in _DRAFTING.items()},
    **EXIT_METHODS,
    **BLOCK_METHODS,
    **LOSSY_METHODS,
    "ead": Preset(
        entropy_adaptive,
        EAD_OPTIONS,
        "lossy: a large and a small model take turns by entropy, nothing is drafted",
        "Entropy Adaptive Decoding, arXiv 2502.06833",
    ),
    **PARALLEL_METHODS,
    **TREE_METHODS,
    "joint": JOINT_PRESET,
    "oracle": Preset(
        lambda o: oracle(int(o["k"]), str(o["draft"])),
        {"k": Option(CHAIN, at_least=1), "draft": Option("all", ("all", "exact"))},
        "bound: verifies exactly what will be accepted",
        "bound",
    ),
    "oracle-belief": Preset(
        lambda o: knowing_acceptance(int(o["k"])),
        {"k": Option(CHAIN, at_least=1)},
        "bound: knows the acceptance probabilities, not the coins",
        "bound",
    ),
}


def parse_method(
    text: str,
    num_speculative_tokens: int = MAX_SPECULATIVE_TOKENS,
    signals: Collection[str] = (),
) -> DecodingMethod:
    """The method of ``NAME[:key=value,...]`` on a trace of that K with those signals.

    Raises MethodError with the known names or options.
    """
    name, _, rest = text.strip().partition(":")
    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise MethodError(f"unknown method {printable(name, 40)!r}; {hint}known: {', '.join(PRESETS)}")
    preset = PRESETS[name]
    of_trace: Mapping[Value, Value] = {
        CHAIN: num_speculative_tokens,
        RECORDED: "histogram" if set(HISTOGRAM) <= set(signals) else "similarity",
    }
    values = {key: of_trace.get(o.default, o.default) for key, o in preset.options.items()}
    given: set[str] = set()
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if key in preset.options and not equals:
            raise MethodError(f"{name}: {key} has no value; give {key}=...")
        if key not in preset.options:
            known = ", ".join(f"{k}=..." for k in preset.options) or "it takes none"
            raise MethodError(f"{name}: unknown option {printable(part, 40)!r}; options: {known}")
        if key in given:
            raise MethodError(f"{name}: {key} is given twice")
        given.add(key)
        values[key] = preset.options[key].parse(name, key, value)
    return preset.build(values)
