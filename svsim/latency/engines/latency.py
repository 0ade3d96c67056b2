"""Any source of bare passes, priced as an engine runs them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.latency.engines.profile import EngineProfile
from svsim.latency.geometry import ModelGeometry
from svsim.latency.head_latency import with_head
from svsim.latency.head_shape import HeadKind
from svsim.latency.host import HostTime, Speculation
from svsim.latency.mixed_pass import MixedLatencyModel
from svsim.latency.model import LatencyModel
from svsim.latency.pass_costs import PassCosts
from svsim.latency.pass_work import MAX_GRAPH_TOKENS, MAX_LOGIT_ROWS_PER_SEQUENCE
from svsim.latency.shape import Role, StepShape
from svsim.latency.wrapped import WrappedLatency, as_mixed

Floats = NDArray[np.float64]
UNCHECKED = 2.0  # an assumption


@dataclass(frozen=True, slots=True)
class EngineLatency(WrappedLatency):
    """``base`` under an engine's profile (``profile.py`` has the formulas).

    target: its shape, where it is known; kv_without_units: an FP8 cache on a GPU without FP8 units.
    is_checked: whether any measured pass was compared with this source of seconds on this GPU.
    head: the kind of drafting head whose passes are priced as ``Role.DRAFT``, if one is.
    """

    profile: EngineProfile
    target: ModelGeometry | None = None
    kv_without_units: bool = False
    is_checked: bool = True
    head: HeadKind | None = None

    @property
    def overhead_per_step_s(self) -> float:
        """Of a target-only step, or a step of prompts."""
        return self.profile.value("target_only_host_s")

    @property
    def is_roofline_mixture(self) -> bool:
        """Whether the roofline prices a target that is a mixture: the least certain kind."""
        return bool(self.target and self.target.num_experts) and self.base.source.startswith("roofline")

    def price_error_at(self, batch_size: int) -> float | None:
        """Relative, 1 sigma, of speedups, on panels that had no part in fitting the profile.

        ``UNCHECKED`` times as much on a GPU that no measured pass was compared with: no panel is from one.
        """
        error = self.profile.error_at(batch_size, self.is_roofline_mixture)
        return error if error is None or self.is_checked else UNCHECKED * error

    def with_head(self, geometry: ModelGeometry) -> "EngineLatency | None":
        """The same engine with that head as ``Role.DRAFT``; None where it cannot be priced."""
        base = with_head(self.base, geometry)
        kind = geometry.head.kind if geometry.head else None
        return None if base is None else replace(self, base=base, head=kind)

    def host_time(self, speculation: Speculation) -> HostTime:
        """Of a method's steps; a companion's pass is launched as a draft pass is."""
        value = self.profile.value
        if speculation.num_speculative_tokens == 0:
            return HostTime(value("target_only_host_s"))
        step_s, pass_s = value("speculative_host_s"), value("draft_pass_s")
        if speculation.drafts_on_host:
            step_s += value("retrieval_host_s")
        elif self.kv_without_units:
            step_s += value("fp8_kv_draft_s")
        if speculation.runs_companion:
            step_s += pass_s
        return HostTime(
            step_s, 0.0, pass_s + (value("cut_vocabulary_pass_s") if self._maps_vocabulary else 0.0)
        )

    def predict_s(self, shape: StepShape) -> Floats:
        """Seconds of each pass, float64 of the broadcast shape."""
        seconds = self.base.predict_s(shape)
        return self._adjusted(shape, seconds) if shape.role is Role.TARGET else seconds

    def predict_mixed_s(self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike) -> Floats:
        """Seconds of each mixed pass: see ``MixedLatencyModel``. What prompts add has a factor."""
        together_s = as_mixed(self.base).predict_mixed_s(decode, chunk_tokens, chunk_kv)
        if decode.role is not Role.TARGET:
            return together_s
        alone_s = as_mixed(self.base).predict_mixed_s(decode, np.zeros(np.shape(chunk_tokens)), chunk_kv)
        added_s = self.prompt_factor * (together_s - alone_s)
        return np.asarray(self._adjusted(decode, alone_s) + added_s)

    @property
    def prompt_factor(self) -> float:
        """On what prompts add to a pass of the target."""
        return self.profile.value("prefill")

    def attention_s(self, shape: StepShape) -> Floats:
        """Seconds of each pass that depend on contexts: of the base."""
        return as_mixed(self.base).attention_s(shape)

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a bare pass."""
        return as_mixed(self.base).pass_costs(role)

    @property
    def _maps_vocabulary(self) -> bool:
        return self.head is HeadKind.EAGLE3

    def _adjusted(self, shape: StepShape, seconds: Floats) -> Floats:
        """Passes of the target as the engine runs them: prompts, verifications, or as they are."""
        sequences = np.maximum(np.asarray(shape.num_sequences, np.float64), 1.0)
        tokens = np.asarray(shape.num_new_tokens, np.float64)
        drafted = np.clip((tokens - sequences) / sequences, 0.0, None)
        if not drafted.any():
            return seconds
        is_prompt = tokens > MAX_LOGIT_ROWS_PER_SEQUENCE * sequences
        verified_s = seconds
        if self.is_roofline_mixture:
            plain_s = self.base.predict_s(replace(shape, num_new_tokens=sequences))
            verified_s = plain_s + self.profile.value("mixture_verification") * (seconds - plain_s)
        dearer = (self.profile.value("verify_attention") - 1.0) * np.minimum(drafted, 1.0)
        verified_s = verified_s + dearer * shape.layers * reading_s(self.base, sequences, shape.num_kv_tokens)
        if self.target is not None:  # beyond captured graphs every layer takes its launches at least
            eager_s = self.profile.value("eager_layer_s") * self.target.num_layers * shape.layers
            verified_s = np.where(tokens > MAX_GRAPH_TOKENS, np.maximum(verified_s, eager_s), verified_s)
        return np.asarray(np.where(is_prompt, self.prompt_factor * seconds, verified_s))


def reading_s(base: LatencyModel, num_sequences: ArrayLike, num_kv_tokens: ArrayLike) -> Floats:
    """What a decoding pass of the target takes longer at these KV tokens than with empty caches."""
    here, empty = (StepShape(Role.TARGET, num_sequences, num_sequences, kv) for kv in (num_kv_tokens, 0.0))
    if isinstance(base, MixedLatencyModel):
        return np.maximum(base.attention_s(here) - base.attention_s(empty), 0.0)
    return np.maximum(base.predict_s(here) - base.predict_s(empty), 0.0)
