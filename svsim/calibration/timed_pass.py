"""One forward pass as the functions that are timed, and what every timing of it shares."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from svsim.latency.shape import Role

if TYPE_CHECKING:
    from svsim.calibration.decoder import RandomDecoder
    from svsim.calibration.pass_layout import PassLayout

FLUSH_BYTES = {"cuda": 256 << 20, "cpu": 16 << 20}


def pass_stages(decoder: "RandomDecoder", layout: "PassLayout", role: Role) -> Sequence[Callable[[], None]]:
    """Forward, logits and sampling of one pass, each a function that leaves its result for the next."""
    import torch

    from svsim.calibration.sampling_work import sampling_work

    indices = decoder.prepare(layout)
    ends = np.cumsum(layout.num_new_tokens) - 1
    wanted = ends if layout.is_prompt or role is Role.DRAFT else np.arange(layout.total_tokens)
    rows = torch.as_tensor(wanted, device=decoder.device)
    left: dict[str, Any] = {}
    vocabulary = decoder.geometry.vocabulary_size
    sample = sampling_work(role, layout.num_sequences, len(rows), vocabulary, decoder.device)

    def forward() -> None:
        left["hidden"] = decoder.forward(layout, indices)

    def logits() -> None:
        left["logits"] = decoder.logits(left["hidden"], rows)

    def sampling() -> None:
        left["tokens"] = sample(left["logits"])

    return forward, logits, sampling
