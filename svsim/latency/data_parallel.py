"""Small models copied to every GPU: each copy serves a slice of the batch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.latency.mixed_pass import MixedPass, between, parts_of
from svsim.latency.pass_costs import PassCosts
from svsim.latency.shape import Role, StepShape
from svsim.latency.wrapped import WrappedLatency, as_mixed


@dataclass(frozen=True, slots=True)
class DataParallelLatency(WrappedLatency):
    """``base`` with the models of some roles replicated: a pass of theirs is that of its largest slice.

    num_replicas: copies by role; of B sequences the fullest serves ceil(B / copies), with tokens and KV
    in proportion (data-parallel drafting of Speculative Verification, arXiv 2509.24328). Exchanging the
    drafted token ids is a few kilobytes and part of the host's time.
    """

    num_replicas: Mapping[Role, int]

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        return self.base.predict_s(self._largest_slice(shape))

    def predict_mixed_s(
        self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike
    ) -> NDArray[np.float64]:
        """Seconds of each mixed pass: see ``MixedLatencyModel``.

        Of C chunks the fullest copy takes ceil(C / copies), at most as many tokens behind as much KV as the
        largest of every so many.
        """
        copies = self.num_replicas.get(decode.role, 1)
        if copies == 1:
            return as_mixed(self.base).predict_mixed_s(decode, chunk_tokens, chunk_kv)
        mixed = MixedPass.of(decode, chunk_tokens, chunk_kv, self.roles, self.hardware)
        tokens, kv = (np.flip(np.sort(values[..., 1:]), -1)[..., ::copies] for values in mixed[1:])
        group = self._largest_slice(decode)
        if decode.logit_tokens is None:
            together_s = as_mixed(self.base).predict_mixed_s(group, tokens, kv)
            return between(together_s, parts_of(self, decode, mixed))
        num_chunks = mixed.is_run[..., 1:].sum(-1)
        fullest = np.ceil(mixed.sequences[..., 0] / copies) + np.ceil(num_chunks / copies)
        rows = np.ceil(decode.logit_tokens * fullest / np.maximum(mixed.sequences.sum(-1), 1.0) - 1e-9)
        return as_mixed(self.base).predict_mixed_s(replace(group, num_logit_tokens=rows), tokens, kv)

    def attention_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass that depend on contexts: see ``MixedLatencyModel``."""
        return as_mixed(self.base).attention_s(self._largest_slice(shape))

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a pass of one copy."""
        return as_mixed(self.base).pass_costs(role)

    def _largest_slice(self, shape: StepShape) -> StepShape:
        """What the fullest copy computes."""
        copies = self.num_replicas.get(shape.role, 1)
        if copies == 1:
            return shape
        sequences, tokens, kv = shape.checked(self.roles, self.hardware, least_sequences=0)
        largest = np.ceil(sequences / copies)
        share = largest / np.maximum(sequences, 1.0)
        # a copy computes whole tokens; the slack keeps 3 * (1 / 3) from becoming 2 tokens
        part = np.ceil(tokens * share - 1e-9)
        logit_tokens = shape.logit_tokens
        if logit_tokens is not None:
            logit_tokens = np.ceil(logit_tokens * share - 1e-9)
        return StepShape(shape.role, largest, part, kv * share, shape.layer_share, logit_tokens)
