"""What makes a drafting head unlike a small model: what it reads of the target, and what it shares with it.

EAGLE (arXiv 2401.15077): a *fusion* layer maps the token's embedding and the target's last hidden state
to one vector; one decoder layer; the target's own logits.
EAGLE-3 (arXiv 2503.01840): the fusion layer maps three hidden states of the target to one; the layer's
query, key and value projections read that and the embedding side by side; own logits over a cut vocabulary.
MTP (DeepSeek-V3, arXiv 2412.19437): as EAGLE, with a layer like the target's; embeddings and logits shared.
P-EAGLE (arXiv 2602.01469): an EAGLE-3 head of several layers that proposes all its tokens in one pass.
DFlash (arXiv 2602.06036): a block of masked tokens goes through several layers in one pass; their keys and
values of the context come from fused hidden states of the target; embeddings and logits shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# Hidden states of the target that EAGLE-3 fuses; layers of DFlash, and as many hidden states.
EAGLE3_FEATURES, DFLASH_FEATURES = 3, 5


class HeadKind(StrEnum):
    """How a head drafts; the module's words say what each is."""

    EAGLE = "eagle"
    EAGLE3 = "eagle3"
    MTP = "mtp"
    DFLASH = "dflash"
    PEAGLE = "peagle"

    @property
    def is_one_pass(self) -> bool:
        """Whether all draft tokens come from one pass; otherwise one pass per draft token."""
        return self in (HeadKind.DFLASH, HeadKind.PEAGLE)

    @property
    def shares_logits(self) -> bool:
        """Whether the output head is the target's own."""
        return self in (HeadKind.EAGLE, HeadKind.MTP, HeadKind.DFLASH)


@dataclass(frozen=True, slots=True)
class HeadShape:
    """A head's inputs, in values per token. Embeddings are the target's: read, not held twice.

    fused_size: input of the fusion layer, whose output has the hidden size. It is charged in every pass;
    an EAGLE-3 head needs it for tokens the target has seen alone (at most 12 % of a pass).
    side_input_size: what the first layer's query, key and value projections read beside the hidden vector.
    """

    kind: HeadKind
    fused_size: int
    side_input_size: int = 0


def head_kind(config: Mapping[str, Any]) -> HeadKind | None:
    """The kind of head that a ``config.json`` describes; None for a model that stands by itself.

    Read from speculators' own key, the architecture's name, and the keys that only such heads have.
    """
    said = f"{config.get('speculators_model_type') or ''} {_architecture(config)}".lower().replace("-", "_")
    if "dflash" in said or isinstance(config.get("dflash_config"), Mapping):
        return HeadKind.DFLASH
    is_parallel = "peagle" in said.replace("_", "") or config.get("parallel_drafting") is True
    if is_parallel or config.get("ptd_token_id") is not None:
        return HeadKind.PEAGLE
    if "eagle3" in said or config.get("draft_vocab_size") is not None:
        return HeadKind.EAGLE3
    if "eagle" in said or config.get("model_type") == "eagle":
        return HeadKind.EAGLE
    if "nextn" in said or "mtp" in said:
        return HeadKind.MTP
    return None


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else ""
    return first if isinstance(first, str) else ""
