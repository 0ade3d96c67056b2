"""The methods by name, as the command line spells them: ``sv:k=7,objective=accepted``."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from svsim.decoding.beliefs import HISTOGRAM, BinnedBelief, CausalBelief
from svsim.decoding.method import DecodingMethod, Losslessness, OraclePlan, SelectByRule
from svsim.decoding.selection_rules import (
    ACCEPTED,
    EMITTED,
    best_goodput,
    causal_goodput,
    first_drop_goodput,
)
from svsim.errors import MethodError, printable

Value = int | float | str
MAX_SPECULATIVE_TOKENS = 255
CHAIN = "K of the trace"
RECORDED = "histogram where the trace has it"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a preset: its default, and its allowed words or the smallest integer.

    Two defaults depend on the trace: CHAIN is its number of draft tokens per position, RECORDED is
    ``histogram`` if it has the columns ``HISTOGRAM``, else ``similarity``.
    """

    default: Value
    words: tuple[str, ...] = ()
    at_least: int = 0

    def parse(self, method: str, key: str, text: str) -> Value:
        """The value of ``key=text``, or MethodError."""
        if self.words:
            if text in self.words:
                return text
            raise MethodError(
                f"{method}: {key}={printable(text, 40)} is unknown; choose one of {', '.join(self.words)}"
            )
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else None
        if value is None or not self.at_least <= value <= MAX_SPECULATIVE_TOKENS:
            raise MethodError(
                f"{method}: {key}={printable(text, 40)} is not a whole number "
                f"from {self.at_least} to {MAX_SPECULATIVE_TOKENS}"
            )
        return value


@dataclass(frozen=True, slots=True)
class Preset:
    """A named method: how to build it, its options, one line of explanation and its source."""

    build: Callable[[Mapping[str, Value]], DecodingMethod]
    options: Mapping[str, Option]
    summary: str
    source: str


def target_only() -> DecodingMethod:
    """Target-only decoding (TD)."""
    return DecodingMethod("td", 0, why_lossless="the target samples every token")


def fixed_length(k: int) -> DecodingMethod:
    """Speculative decoding with k draft tokens, all verified."""
    return DecodingMethod(
        "sd", k, params={"k": k}, why_lossless="the length does not depend on the draft tokens"
    )


def speculative_verification(
    k: int, objective: str = "emitted", stop: str = "argmax", min_verify: int = 0
) -> DecodingMethod:
    """Speculative Verification with k draft tokens; only options that differ from the default show."""
    if min_verify > k:
        raise MethodError(f"sv: min_verify={min_verify} exceeds k={k}")
    chosen: dict[str, Value] = {"objective": objective, "stop": stop, "min_verify": min_verify}
    shown = {n: v for n, v in chosen.items() if v != SV_OPTIONS[n].default}
    return DecodingMethod(
        "sv",
        k,
        SelectByRule(
            best_goodput if stop == "argmax" else first_drop_goodput,
            (EMITTED if objective == "emitted" else ACCEPTED, float(min_verify)),
        ),
        belief=BinnedBelief(),
        uses_companion=True,
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless="a token is kept or redrawn after looking at the token itself (through A)",
        params={"k": k, **shown},
    )


def lossless_verification(k: int, unseen: str = "similarity") -> DecodingMethod:
    """Speculative Verification that keeps the target's law under sampling.

    ``unseen``: what is believed of a token before it is looked at, by the draft's law of A at its place
    (``histogram``) or by S alone (``similarity``).
    """
    return DecodingMethod(
        "sv-lossless",
        k,
        SelectByRule(causal_goodput),
        belief=CausalBelief(histogram=unseen == "histogram"),
        uses_companion=True,
        lossless=Losslessness.LOSSLESS,
        why_lossless="whether a token is verified is decided without looking at it or at what follows it",
        params={"k": k, "unseen": unseen},
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


SV_OPTIONS: Mapping[str, Option] = {
    "k": Option(7, at_least=1),
    "objective": Option("emitted", ("emitted", "accepted")),
    "stop": Option("argmax", ("argmax", "first-drop")),
    "min_verify": Option(0),
}

PRESETS: Mapping[str, Preset] = {
    "td": Preset(lambda o: target_only(), {}, "target-only decoding: no speculation", "baseline"),
    "sd": Preset(
        lambda o: fixed_length(int(o["k"])),
        {"k": Option(5, at_least=1)},
        "speculative decoding, fixed length k",
        "Leviathan et al., arXiv 2211.17192",
    ),
    "sv": Preset(
        lambda o: speculative_verification(
            int(o["k"]), str(o["objective"]), str(o["stop"]), int(o["min_verify"])
        ),
        SV_OPTIONS,
        "Speculative Verification: a companion's signals choose what to verify",
        "arXiv 2509.24328",
    ),
    "sv-lossless": Preset(
        lambda o: lossless_verification(int(o["k"]), str(o["unseen"])),
        {"k": Option(7, at_least=1), "unseen": Option(RECORDED, ("histogram", "similarity"))},
        "Speculative Verification that keeps the target's law when sampling",
        "arXiv 2509.24328, made causal",
    ),
    "oracle": Preset(
        lambda o: oracle(int(o["k"]), str(o["draft"])),
        {"k": Option(CHAIN, at_least=1), "draft": Option("all", ("all", "exact"))},
        "bound: verifies exactly what will be accepted",
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
        if key not in preset.options or not equals:
            known = ", ".join(f"{k}=..." for k in preset.options) or "it takes none"
            raise MethodError(f"{name}: unknown option {printable(part, 40)!r}; options: {known}")
        if key in given:
            raise MethodError(f"{name}: {key} is given twice")
        given.add(key)
        values[key] = preset.options[key].parse(name, key, value)
    return preset.build(values)
