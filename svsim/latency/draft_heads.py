"""Drafting heads by their shape: from a head's own ``config.json``, or from the target's shape.

``draft_head(kind, target, config)`` answers with a ``DraftHead``, whose ``geometry`` any latency model
prices in the place of a draft model (``Role.DRAFT``) and ``MemoryPlan`` holds beside the target:

- heads of *one pass per token* (EAGLE, EAGLE-3, MTP) run k passes of one new token per sequence, the
  first of them over every token emitted in the last step;
- heads of *one pass* (``is_one_pass``: DFlash, P-EAGLE) run one pass of k new tokens per sequence, and
  compute logits for each of them (``row_rule``).

Without a config the published heads' proportions are assumed and said in ``assumed``.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.latency.geometry import ModelGeometry
from svsim.latency.head_shape import DFLASH_FEATURES, EAGLE3_FEATURES, HeadKind, HeadShape, head_kind
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.reading import json_object

# Of EAGLE-3 heads of the Llama, Qwen and Mistral families: the vocabulary is cut to these.
EAGLE3_VOCABULARY = 32_000
# Layers of the published P-EAGLE heads (amazon/*-P-EAGLE) and DFlash drafters (z-lab/*-DFlash-b16).
LAYERS = {HeadKind.PEAGLE: 4, HeadKind.DFLASH: DFLASH_FEATURES}
# A head's layer is a plain decoder layer also where the target is a mixture or has latent attention: then
# with an MLP of 3 hidden sizes (unless the target has dense layers), and 8 KV heads of 128 values.
MLP_PER_HIDDEN, PLAIN_KV_HEADS, PLAIN_HEAD_SIZE = 3, 8, 128
LAYER_OF_TARGET = "one layer like the target's"
# A config that names no kind is no head beyond so many layers.
MAX_HEAD_LAYERS = 8


@dataclass(frozen=True, slots=True)
class DraftHead:
    """One head on one target.

    geometry: its layers, vocabulary and inputs, own parameters alone.
    num_speculative_tokens: what its file says it was trained or set to draft, if it says so.
    assumed: in words, what no file said; empty with a config.
    """

    kind: HeadKind
    geometry: ModelGeometry
    num_speculative_tokens: int | None = None
    assumed: str = ""

    @property
    def is_one_pass(self) -> bool:
        """Whether one pass proposes all k tokens."""
        return self.kind.is_one_pass

    @property
    def num_parameters(self) -> int:
        """Own weights; embeddings, and logits where they are the target's, do not count."""
        return self.geometry.num_parameters

    @property
    def weight_bytes(self) -> int:
        """Memory that the head adds to the target's."""
        return self.geometry.weight_bytes

    def share_of(self, target: ModelGeometry) -> float:
        """Weights that a pass reads, the target's logits included, against those of the target."""
        shape = self.geometry
        shared = shape.vocabulary_size * shape.hidden_size if self.kind.shares_logits else 0
        return (self.num_parameters + shared) / target.num_parameters


def draft_head(
    kind: str | HeadKind | None, target: ModelGeometry | None = None, config: str | Path | None = None
) -> DraftHead:
    """A head of a kind (``HeadKind``; None: what the config says) on a target, or of its own ``config.json``.

    config: the file or its folder, of the head; of an MTP module also the target's own. LatencyError if
    the file is no head, or one of another kind, or if there is neither target nor file.
    """
    wanted = None if kind is None else _kind(kind)
    if config is not None:
        path = Path(config)
        path = path / "config.json" if os.path.isdir(path) else path
        return head_from_config(
            json_object(path, "a head's config.json", LatencyError, strict=False), wanted, where=str(path)
        )
    if wanted is None or target is None:
        raise LatencyError("a drafting head needs its kind and a target, or its config.json (--head FILE)")
    return head_of_target(wanted, target)


def head_from_config(
    config: Mapping[str, Any], kind: HeadKind | None = None, where: str = "config.json"
) -> DraftHead:
    """The head that a parsed ``config.json`` describes; ``kind`` decides where the file does not say."""
    said = head_kind(config)
    if said and kind and said is not kind and (said, kind) != (HeadKind.EAGLE3, HeadKind.PEAGLE):
        raise LatencyError(f"{where}: a head of kind {said}, not {kind}; choose --drafter {said}")
    name = Path(where).resolve().parent.name
    found = kind or said
    if found is None:
        raise LatencyError(
            f"{where}: not a drafting head; say its kind ({', '.join(HeadKind)}) or give a head"
        )
    if said is None and found is HeadKind.MTP:
        return head_of_target(found, ModelGeometry.from_config(config, name, where))
    geometry = ModelGeometry.from_config(config, name, where, head=found)
    if said is None and geometry.num_layers > MAX_HEAD_LAYERS:
        raise LatencyError(
            f"{where}: {geometry.num_layers} layers are a whole model, no {found} head; expected the head's "
            "own config.json, or leave it out for a head of the target's shape"
        )
    return DraftHead(found, geometry, _trained_tokens(config))


def head_of_target(kind: HeadKind, target: ModelGeometry) -> DraftHead:
    """The head that is usually made for such a target."""
    name = f"{kind} head of {target.name}"
    if kind is HeadKind.MTP:
        shape = HeadShape(kind, 2 * target.hidden_size)
        return DraftHead(kind, replace(_one_layer(target), name=name, head=shape), assumed=LAYER_OF_TARGET)
    layers = LAYERS.get(kind, 1)
    hidden, features = target.hidden_size, {HeadKind.EAGLE: 2, HeadKind.DFLASH: DFLASH_FEATURES}
    vocabulary = (
        min(EAGLE3_VOCABULARY, target.vocabulary_size) if kind is HeadKind.EAGLE3 else target.vocabulary_size
    )
    reads_beside = kind in (HeadKind.EAGLE3, HeadKind.PEAGLE)
    shape = HeadShape(kind, features.get(kind, EAGLE3_FEATURES) * hidden, hidden if reads_beside else 0)
    geometry = ModelGeometry(
        name, layers, hidden, *_plain_attention(target), _mlp_size(target), vocabulary, head=shape
    )
    words = f"{layers} plain decoder layer{'s' * (layers > 1)} of {hidden} x {geometry.intermediate_size}"
    return DraftHead(kind, geometry, assumed=f"{words}, a vocabulary of {vocabulary}")


def _one_layer(target: ModelGeometry) -> ModelGeometry:
    """A layer with full attention and, in a mixture, experts; plain attention where the target has none."""
    heads, kv_heads, head_size = _plain_attention(target) if target.latent is None else _heads(target)
    return replace(
        target,
        num_layers=1,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_size=head_size,
        intermediate_size=target.intermediate_size or MLP_PER_HIDDEN * target.hidden_size,
        num_dense_layers=0,
        recurrent=None,
        window=None,
        num_mixer_only_layers=0,
        num_mlp_only_layers=0,
        num_other_parameters=0,
    )


def _heads(target: ModelGeometry) -> tuple[int, int, int]:
    return target.num_heads, target.num_kv_heads, target.head_size


def _plain_attention(target: ModelGeometry) -> tuple[int, int, int]:
    """Query heads, KV heads and head size of a plain decoder layer for a target."""
    if target.latent is None and target.num_heads:
        return _heads(target)
    heads = max(target.hidden_size // PLAIN_HEAD_SIZE, 1)
    return heads, PLAIN_KV_HEADS if heads % PLAIN_KV_HEADS == 0 else heads, PLAIN_HEAD_SIZE


def _mlp_size(target: ModelGeometry) -> int:
    if not target.num_experts and target.intermediate_size:
        return target.intermediate_size
    return target.dense_intermediate_size or MLP_PER_HIDDEN * target.hidden_size


def _kind(kind: str | HeadKind) -> HeadKind:
    try:
        return HeadKind(kind)
    except ValueError:
        raise LatencyError(
            f"no drafting head {printable(kind, 40)}; expected one of {', '.join(HeadKind)}"
        ) from None


def _trained_tokens(config: Mapping[str, Any]) -> int | None:
    """Draft tokens that a head's file tells: of a speculator's proposal, or of a block after its first."""
    speculators = config.get("speculators_config")
    methods = speculators.get("proposal_methods") if isinstance(speculators, Mapping) else None
    first = methods[0] if isinstance(methods, list) and methods else None
    told = first.get("speculative_tokens") if isinstance(first, Mapping) else None
    if told is None and isinstance(config.get("block_size"), int):
        told = config["block_size"] - 1
    is_count = isinstance(told, int) and not isinstance(told, bool) and 1 <= told <= MAX_SPECULATIVE_TOKENS
    return told if is_count else None
