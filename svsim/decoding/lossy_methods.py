"""Methods whose text does not follow the target's law, whatever the sampling.

Defaults are the source's; one that the source does not state is said to be ours.
"""

from collections.abc import Mapping

from svsim.decoding.acceptances import Judged, OfColumn
from svsim.decoding.method import DecodingMethod, Losslessness
from svsim.decoding.preset import Option, Preset, Value, shown
from svsim.decoding.work import Verification

Options = Mapping[str, Value]
COLUMN = "column"

JUDGE: Mapping[str, Option] = {
    "k": Option(25, at_least=1),
    "share": Option(0.0, at_least=0.0, at_most=1.0, or_word=COLUMN),
}
REFLECT: Mapping[str, Option] = {
    "k": Option(5, at_least=1),
    "prompt": Option(16, at_most=100_000),  # ours
    "suffix": Option(8, at_most=100_000),  # ours
}
SECOND_CHANCE = "a judge lets tokens pass that the target rejects"
FUSED = "tokens are accepted under a mixture with a second, prompted opinion of the target"


def judge(o: Options) -> DecodingMethod:
    """Judge decoding: a rejected draft token may still pass, by a share or by a recorded judge."""
    share = None if o["share"] == COLUMN else float(o["share"])
    return DecodingMethod(
        "judge",
        int(o["k"]),
        lossless=Losslessness.LOSSY,
        why_lossless=SECOND_CHANCE,
        params=shown(JUDGE, o),
        acceptance=Judged(share),
    )


def reflect(o: Options) -> DecodingMethod:
    """Reflective verification: draft tokens are read twice, the second time behind a prompt."""
    return DecodingMethod(
        "reflect",
        int(o["k"]),
        lossless=Losslessness.LOSSY,
        why_lossless=FUSED,
        params=shown(REFLECT, o),
        acceptance=OfColumn("fused_accept"),
        verification=Verification(copies=2, beside=int(o["prompt"]) + int(o["suffix"])),
    )


LOSSY_METHODS: Mapping[str, Preset] = {
    "judge": Preset(
        judge,
        JUDGE,
        "lossy: a judge gives rejected tokens a second chance",
        "Judge decoding, arXiv 2501.19309",
    ),
    "reflect": Preset(
        reflect,
        REFLECT,
        "lossy: the target reads its drafts twice in one pass",
        "Reflective verification, arXiv 2505.18629",
    ),
}
