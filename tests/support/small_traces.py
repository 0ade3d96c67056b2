"""Small labelled-synthetic traces and latency models for tests."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from svsim.latency.shape import Role, StepShape
from svsim.synthetic.method_columns import with_columns
from svsim.trace.token_trace import (
    Chains,
    ObservableColumns,
    TargetColumns,
    TokenTrace,
    TraceMetadata,
)

# a linear latency file
LINEAR = {
    "kind": "linear",
    "target": {"fixed_s": 0.012, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8},
    "draft": {"fixed_s": 0.001, "per_new_token_s": 1e-6, "per_kv_token_s": 1e-9},
    "companion": {"fixed_s": 0.002, "per_new_token_s": 2e-6, "per_kv_token_s": 2e-9},
    "overhead_per_step_s": 0.001,
    "draft_is_one_pass": False,
}

# presets whose defaults are about a model of known shape, or longer chains -> an option that asks for none
TREES = {
    "tree": "m=7",
    "medusa": "m=7,head_share=0.1",
    "sequoia": "m=7",
    "eagle2": "m=7",
    "eagle3": "m=7,depth=2,beam=3",
    "stree": "",
    "longspec": "shape=2/3/2",
}
WITHOUT_SHAPES = {
    **TREES,
    "kangaroo": "exit=0.1",
    "easyspec": "attention_share=0.4",
    "judge": "k=3",
}
METHOD_COLUMNS = (
    "token_rank:vocabulary=100",
    "judge:share=.5",
    "fused:gain=.3",
    "exits:layers=2/4/8,of=32,acceptance=.4/.6/.8",
    "blocks:lengths=20/25/30,acceptance=.8,end=.03",
    "paths:rank=.5",
)


def independent_trace(
    num_requests: int = 40,
    num_speculative_tokens: int = 4,
    *,
    seed: int = 0,
    accept_prob: float | None = None,
    heterogeneous: bool = False,
    output_tokens: tuple[int, int] = (20, 60),
    prompt_tokens: tuple[int, int] = (10, 80),
    greedy: bool = False,
    chains: Chains = "independent",
    signals: bool = True,
) -> TokenTrace:
    """Every position and depth by itself: acceptance constant, or beta(3, 1.2), or one draw per request.

    The two signals are acceptance seen through noise.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(*output_tokens, num_requests)
    shape = (int(lengths.sum()), num_speculative_tokens)
    accept = rng.beta(3.0, 1.2, shape) if accept_prob is None else np.full(shape, accept_prob)
    if heterogeneous:
        accept = np.repeat(rng.beta(4.0, 2.0, num_requests), lengths)[:, None] * np.ones(shape)
    accepted = np.logical_and.accumulate(rng.random(shape) < accept, axis=1).sum(axis=1)
    noisy = {
        "similarity": np.clip(accept + rng.normal(0, 0.15, shape), 0, 1).astype(np.float32),
        "companion_accept": np.clip(accept + rng.normal(0, 0.25, shape), 0, 1).astype(np.float32),
    }
    return TokenTrace(
        request_ids=tuple(f"request-{i}" for i in range(num_requests)),
        first_position=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        num_prompt_tokens=rng.integers(*prompt_tokens, num_requests).astype(np.int32),
        observable=ObservableColumns(noisy if signals else {}),
        target=TargetColumns(accepted.astype(np.int16), accept.astype(np.float32)),
        metadata=TraceMetadata(
            num_speculative_tokens, "synthetic", chains, sampling={"greedy": greedy, "temperature": 1.0}
        ),
    )


def with_draft_signals(trace: TokenTrace, seed: int = 0) -> TokenTrace:
    """The trace with what a draft model knows of its own tokens: acceptance seen through more noise.

    And with the target's entropy: the draft's through noise.
    """
    rng = np.random.default_rng(seed)
    accept = trace.target.accept_prob
    assert accept is not None
    noise = rng.lognormal(0.0, 1.0, accept.shape)
    signals = {
        "draft_prob": np.clip(accept + rng.normal(0, 0.2, accept.shape), 0, 1),
        "draft_confidence": np.clip(accept + rng.normal(0, 0.1, accept.shape), 0, 1),
        "draft_entropy": 5.0 * (1.0 - accept) ** 2 * noise,
    }
    seen = dict(trace.observable.signals)
    seen |= {name: signal.astype(np.float32) for name, signal in signals.items()}
    outcomes = dict(trace.target.outcomes)
    outcomes["target_entropy"] = (signals["draft_entropy"] * rng.gamma(4.0, 0.25, accept.shape)).astype(
        np.float32
    )
    target = replace(trace.target, outcomes=outcomes)
    return replace(trace, observable=ObservableColumns(seen), target=target)


def with_method_columns(trace: TokenTrace) -> TokenTrace:
    """The trace, called greedy, with the columns that single methods replay."""
    greedy = replace(trace, metadata=replace(trace.metadata, sampling={"greedy": True}))
    return with_columns(greedy, METHOD_COLUMNS, 0)[0]


class StairLatency:
    """Passes padded to ``pad`` tokens: a fixed part, a part per padded token, a part per KV token."""

    hardware = "stairs"
    source = "test"
    tensor_parallel = None
    roles = frozenset(Role)
    out_of_range = "extrapolate"
    draft_is_one_pass = False
    separates_head = False

    def __init__(self, pad: int = 8, overhead_s: float = 1e-3) -> None:
        self.pad = pad
        self.overhead_per_step_s = overhead_s

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """fixed + 40 us per padded token + 10 ns per KV token (target; a tenth for the others)."""
        _, tokens, kv = shape.broadcast()
        share = {Role.TARGET: 1.0, Role.DRAFT: 0.08, Role.COMPANION: 0.12}[shape.role]
        padded = np.ceil(tokens / self.pad) * self.pad
        return shape.layers * share * (10e-3 + 40e-6 * padded + 1e-8 * kv)
