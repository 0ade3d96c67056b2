"""The one question a latency model answers: how long does a forward pass take?"""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from svsim.latency.shape import Role, StepShape

OutOfRange = Literal["raise", "clip", "extrapolate"]


@runtime_checkable
class LatencyModel(Protocol):
    """Seconds per forward pass on one piece of hardware.

    A pass of the target includes logits and sampling of the tokens it verifies; a pass of the draft
    includes sampling its token; a pass of the companion includes computing S and A of its tokens.
    ``predict_s`` never decreases in ``num_new_tokens``. Sources that can also price decoding sequences and
    chunks of prompts in one pass are a ``MixedLatencyModel`` (``mixed_pass.py``).
    """

    @property
    def hardware(self) -> str:
        """Canonical hardware name (``h100_sxm``), or the stem of the latency file."""
        ...

    @property
    def tensor_parallel(self) -> int | None:
        """GPUs that share the target; None where the source does not say."""
        ...

    @property
    def source(self) -> str:
        """Where the seconds come from: ``linear``, ``measured``, ``database``, ``roofline`` ..."""
        ...

    @property
    def roles(self) -> frozenset[Role]:
        """The models this latency model can price."""
        ...

    @property
    def out_of_range(self) -> OutOfRange:
        """What happens to a pass outside the calibrated range."""
        ...

    @property
    def overhead_per_step_s(self) -> float:
        """Host time added to every decoding step, in seconds."""
        ...

    @property
    def draft_is_one_pass(self) -> bool:
        """True if the drafter costs one pass per step whatever its length (heads, n-gram)."""
        ...

    @property
    def separates_head(self) -> bool:
        """Whether layers and head (logits, sampling) are priced apart: see ``StepShape``."""
        ...

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 [N]. Raises OutOfRangeError as ``out_of_range`` says."""
        ...
