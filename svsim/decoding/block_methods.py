"""Methods that draft a block of tokens in one pass, of a length that earlier blocks decide.

Defaults are the source's; one that the source does not state is said to be ours.
"""

from collections.abc import Mapping

from svsim.decoding.block_walks import FollowedBlocks
from svsim.decoding.drafters import BlockDrafter
from svsim.decoding.method import DecodingMethod, Losslessness
from svsim.decoding.preset import Option, Preset, Value, shown
from svsim.errors import MethodError

DIFFUSPEC: Mapping[str, Option] = {
    "k_min": Option(20, at_least=1),
    "k_max": Option(30, at_least=1),
    "delta": Option(10, at_least=0),
    "rho": Option(0.5, at_least=0.0, at_most=1.0),
    "passes": Option(1, at_least=1, at_most=1000),
    "kv_reuse": Option("no", ("no", "yes")),
    "search_s": Option(0.0, at_least=0.0, at_most=1.0),
}


def diffuspec(o: Mapping[str, Value]) -> DecodingMethod:
    """DiffuSpec: a diffusion model drafts a block, as long as the last ones were worth."""
    k_min, k_max = int(o["k_min"]), int(o["k_max"])
    if k_min > k_max:
        raise MethodError(f"diffuspec: k_min={k_min} exceeds k_max={k_max}")
    return DecodingMethod(
        "diffuspec",
        k_max,
        FollowedBlocks(k_min, k_max, float(o["delta"]), float(o["rho"])),
        drafter=BlockDrafter(int(o["passes"]), o["kv_reuse"] == "yes", float(o["search_s"])),
        lossless=Losslessness.GREEDY_ONLY,
        why_lossless="the path through a block is searched by looking at its tokens",
        params=shown(DIFFUSPEC, o),
        is_about_drafter=True,
    )


BLOCK_METHODS: Mapping[str, Preset] = {
    "diffuspec": Preset(
        diffuspec,
        DIFFUSPEC,
        "a diffusion model drafts blocks, as long as the last ones were worth",
        "DiffuSpec, arXiv 2510.02358",
    ),
}
