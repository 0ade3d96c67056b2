"""Small models copied to every GPU: each copy serves a slice of the batch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.latency.model import LatencyModel, OutOfRange
from svsim.latency.shape import Role, StepShape


@dataclass(frozen=True, slots=True)
class DataParallelLatency:
    """``base`` with the models of some roles replicated: a pass of theirs is that of its largest slice.

    num_replicas: copies by role; of B sequences the fullest serves ceil(B / copies), with tokens and KV
    in proportion (data-parallel drafting of Speculative Verification, arXiv 2509.24328). Exchanging the
    drafted token ids is a few kilobytes and part of the host's time.
    """

    base: LatencyModel
    num_replicas: Mapping[Role, int]

    @property
    def hardware(self) -> str:
        """Of the base."""
        return self.base.hardware

    @property
    def tensor_parallel(self) -> int | None:
        """GPUs that share the target."""
        return self.base.tensor_parallel

    @property
    def source(self) -> str:
        """Of the base."""
        return self.base.source

    @property
    def roles(self) -> frozenset[Role]:
        """Of the base."""
        return self.base.roles

    @property
    def out_of_range(self) -> OutOfRange:
        """Of the base, about slices."""
        return self.base.out_of_range

    @property
    def overhead_per_step_s(self) -> float:
        """Of the base."""
        return self.base.overhead_per_step_s

    @property
    def draft_is_one_pass(self) -> bool:
        """Of the base."""
        return self.base.draft_is_one_pass

    @property
    def separates_head(self) -> bool:
        """As the base."""
        return self.base.separates_head

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        copies = self.num_replicas.get(shape.role, 1)
        if copies == 1:
            return self.base.predict_s(shape)
        sequences, tokens, kv = shape.checked(self.roles, self.hardware)
        largest = np.ceil(sequences / copies)
        share = largest / sequences
        # a copy computes whole tokens; the slack keeps 3 * (1 / 3) from becoming 2 tokens
        part = np.ceil(tokens * share - 1e-9)
        logit_tokens = shape.logit_tokens
        if logit_tokens is not None:
            logit_tokens = np.ceil(logit_tokens * share - 1e-9)
        return self.base.predict_s(
            StepShape(shape.role, largest, part, kv * share, shape.layer_share, logit_tokens)
        )
