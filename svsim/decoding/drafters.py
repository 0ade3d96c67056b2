"""Drafters: what proposes the draft tokens, and what work that is. Never how long it takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelDrafter:
    """An autoregressive draft model: one pass per depth; its first pass reads what it has not seen.

    That is the last emitted token, and one more where the whole chain was accepted.
    """


@dataclass(frozen=True, slots=True)
class HeadDrafter:
    """An autoregressive head on the target's hidden states, as EAGLE has it (arXiv 2401.15077).

    One pass per depth; its first pass reads every token emitted in the last step again, with the
    target's features in place of its own. A pass costs ``share_of_target`` of a target pass of the same
    shape: a decoder layer and the output head are about a tenth of an 8B model, 0.03 of a 70B model.
    """

    share_of_target: float = 0.1


Drafter = ModelDrafter | HeadDrafter

MODEL = ModelDrafter()
