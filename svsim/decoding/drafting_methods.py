"""Methods that are about what drafts: early exits, drafts with a small cache, fuzzy drafts; trimmed heads.

Defaults are the source's; one that the source does not state is said to be ours.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from svsim.decoding.acceptances import AS_RECORDED, Diluted, OfTrimmedHead
from svsim.decoding.draft_stops import low_confidence
from svsim.decoding.drafters import BudgetDrafter, ExitDrafter, FuzzyDrafter, TrimmedDrafter
from svsim.decoding.method import DecodingMethod, PlanBySignals
from svsim.decoding.preset import SHAPED, Option, Preset, Value, shown
from svsim.decoding.rivals import BLIND, STOPS_AFTER
from svsim.errors import MethodError

Options = Mapping[str, Value]

HEAD_ROWS = Option(0, at_least=0, at_most=10_000_000)
MAX_LAYERS = 1000

KANGAROO: Mapping[str, Option] = {
    "k": Option(6, at_least=1),
    "eta": Option(0.6, at_least=0.0, at_most=1.0),
    "exit": Option(2.0, at_least=1e-6, at_most=MAX_LAYERS),
}
MAGICDEC: Mapping[str, Option] = {
    "k": Option(3, at_least=1),
    "budget": Option(512, at_least=1, at_most=100_000_000),
    "drafter": Option("self", ("self", "draft")),
}
EASYSPEC: Mapping[str, Option] = {
    "k": Option(5, at_least=1),
    "n": Option(4, at_least=1, at_most=64),
    "attention_share": Option(SHAPED, at_least=0.0, at_most=1.0),
    "exchange_s": Option(0.0, at_least=0.0, at_most=1.0),
    "acceptance_loss": Option(0.0, at_least=0.0, at_most=1.0),
}


def kangaroo(o: Options) -> DecodingMethod:
    """Kangaroo: the target's first layers and an adapter draft until a token of low probability.

    The trace's drafter is to be that exit: its ``draft_prob`` stops the draft.
    """
    exit_at = float(o["exit"])
    o = {**o, "exit": int(exit_at) if exit_at.is_integer() else exit_at}
    return DecodingMethod(
        "kangaroo",
        int(o["k"]),
        PlanBySignals(("draft_prob",), partial(low_confidence, threshold=float(o["eta"])), stops_draft=True),
        drafter=ExitDrafter(exit_at),
        why_lossless=STOPS_AFTER,
        params=shown(KANGAROO, o),
        is_about_drafter=True,
    )


def magicdec(o: Options) -> DecodingMethod:
    """MagicDec: fixed length, drafted with a cache of ``budget`` tokens; the trace is of that draft."""
    return DecodingMethod(
        "magicdec",
        int(o["k"]),
        drafter=BudgetDrafter(int(o["budget"]), o["drafter"] == "self"),
        why_lossless=BLIND,
        params=shown(MAGICDEC, o),
        is_about_drafter=True,
    )


def easyspec(o: Options) -> DecodingMethod:
    """EasySpec: fixed length, drafted with n attention layers at a time; the trace is of the fuzzy draft,
    or of the exact one less ``acceptance_loss``."""
    share, loss = o["attention_share"], float(o["acceptance_loss"])
    return DecodingMethod(
        "easyspec",
        int(o["k"]),
        drafter=FuzzyDrafter(int(o["n"]), None if share == SHAPED else float(share), float(o["exchange_s"])),
        why_lossless=BLIND,
        params=shown(EASYSPEC, o),
        is_about_drafter=True,
        acceptance=Diluted(loss) if loss else AS_RECORDED,
    )


def trimmable(preset: Preset) -> Preset:
    """The preset with ``head_rows``: rows of the drafter's head that are kept (0: all), VocabTrim's."""

    def build(o: Options) -> DecodingMethod:
        rows = int(o.get("head_rows", 0))
        method = preset.build({key: value for key, value in o.items() if key != "head_rows"})
        if rows == 0:
            return method
        if method.acceptance != AS_RECORDED:
            raise MethodError(f"{method.label}: head_rows stands beside a loss of acceptance; leave one out")
        return replace(
            method,
            drafter=TrimmedDrafter(method.drafter, rows),
            acceptance=OfTrimmedHead(rows),
            params={**method.params, "head_rows": rows},
        )

    return replace(preset, build=build, options={**preset.options, "head_rows": HEAD_ROWS})


DRAFTING_METHODS: Mapping[str, Preset] = {
    "kangaroo": Preset(
        kangaroo,
        KANGAROO,
        "the target's first layers draft until a token of low probability",
        "Kangaroo, arXiv 2404.18911",
    ),
    "magicdec": Preset(
        magicdec, MAGICDEC, "fixed length, drafted with a small cache", "MagicDec, arXiv 2408.11049"
    ),
    "easyspec": Preset(
        easyspec,
        EASYSPEC,
        "fixed length, drafted with attention layers side by side",
        "EasySpec, arXiv 2502.02493",
    ),
}
