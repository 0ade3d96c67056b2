"""``joint`` as a preset: the rule, what it believes, and its options."""

from collections.abc import Mapping

from svsim.decoding.joint_belief import OffsetBelief
from svsim.decoding.joint_rule import plan_jointly
from svsim.decoding.method import DecodingMethod
from svsim.decoding.preset import CHAIN, Option, Preset, Value, shown
from svsim.decoding.selections import AskEveryPass

JOINT: Mapping[str, Option] = {
    "k": Option(CHAIN, at_least=1),
    "midstop": Option("yes", ("yes", "no")),
    "ask_us": Option(0.0, at_least=0.0, at_most=100_000.0),
}


def joint(o: Mapping[str, Value]) -> DecodingMethod:
    """The best plan of depth, stop and verification, made again before every pass.

    ``midstop=no`` plans the depth once, before the draft. ``ask_us``: microseconds on the host of each
    decision between passes.
    """
    return DecodingMethod(
        "joint",
        int(o["k"]),
        AskEveryPass(plan_jointly, (float(o["midstop"] == "yes"),), ask_s=float(o["ask_us"]) * 1e-6),
        belief=OffsetBelief(),
        why_lossless="whether a token is verified is settled before anything looks at it",
        params=shown(JOINT, o),
    )


JOINT_PRESET = Preset(
    joint, JOINT, "draft depth, stop and verification planned together before every pass", "svsim"
)
