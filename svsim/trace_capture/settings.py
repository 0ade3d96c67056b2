"""What a capture is asked to do: plain values, checked on construction."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from svsim.device.extras import DataType, Device
from svsim.errors import require
from svsim.limits import MAX_SPECULATIVE_TOKENS

LongPrompts = Literal["raise", "skip"]
ColumnGroup = Literal["diagnostics", "histogram"]


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How tokens are drawn, by the target and the draft alike.

    greedy:               the target takes its most likely token and so does the draft; recorded
                          signals then come from the temperature-1 softmax, a is exact match.
    temperature, top_k, top_p: the warpers, in this order, applied to all three models;
                          top_k = 0 and top_p = 1 switch a warper off.
    deterministic_draft:  the draft proposes its most likely token although the target samples;
                          a is then p(x_d), the probability that the target draws the same token.
    """

    greedy: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    deterministic_draft: bool = False

    def __post_init__(self) -> None:
        require(
            self.temperature > 0, f"temperature = {self.temperature}; expected > 0 (greedy decoding: greedy)"
        )
        require(
            not self.greedy or (self.temperature, self.top_k, self.top_p) == (1.0, 0, 1.0),
            "greedy decoding uses no temperature, top_k or top_p; leave them out, or leave out greedy",
        )
        require(self.top_k >= 0, f"top_k = {self.top_k}; expected 0 (off) or a number of tokens")
        require(0 < self.top_p <= 1, f"top_p = {self.top_p}; expected in (0, 1]; 1 switches it off")

    @property
    def draft_is_deterministic(self) -> bool:
        """Whether the draft's proposal is a function of the prefix alone."""
        return self.greedy or self.deterministic_draft

    def to_metadata(self) -> dict[str, Any]:
        """As a trace's metadata has it: ``deterministic_draft`` tells the fact, also under greedy settings.

        (A greedy target or a deterministic draft makes any verification rule lossless.)
        """
        return {**asdict(self), "deterministic_draft": self.draft_is_deterministic}


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """One capture: models, prompts, sampling, sizes, and where the trace goes.

    target, draft, companion: causal language models with one tokenizer: local folders, hub ids, GGUF files or
                         packages that hold one; without a companion its signals are not recorded.
    prompts:             JSON Lines or text file (``prompts.py``).
    num_output_tokens:   output positions per request; a request ends sooner at the target's
                         end-of-sequence token unless ``ignore_eos``.
    batch_size:          requests generated together; also the size of a crash-safe shard.
    trust_pickle_weights: also load weights that are not safetensors (such files can run code).
    num_rule_bias_stride: every how many positions the bias of token-dependent rules is measured.
    step_times:          a step-time table (Parquet) to embed in the trace.
    leave_out:           column groups not to write: ``diagnostics`` (ranks; the target's entropy, which
                         ``ead`` alone reads), ``histogram`` (the law of A under q: half of the file).
    """

    target: str
    draft: str
    companion: str | None
    prompts: Path
    out: Path
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    num_speculative_tokens: int = 8
    num_output_tokens: int = 128
    batch_size: int = 64
    max_requests: int | None = None
    seed: int = 0
    device: Device = "cuda"
    dtype: DataType = "auto"
    ignore_eos: bool = False
    long_prompts: LongPrompts = "raise"
    trust_pickle_weights: bool = False
    resume: bool = False
    num_rule_bias_stride: int = 16
    step_times: Path | None = None
    leave_out: tuple[ColumnGroup, ...] = ()
    dataset: str | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_speculative_tokens", "num_output_tokens", "batch_size", "num_rule_bias_stride"):
            require(getattr(self, name) >= 1, f"{name} = {getattr(self, name)}; expected at least 1")
        k, most = self.num_speculative_tokens, MAX_SPECULATIVE_TOKENS
        require(k <= most, f"num_speculative_tokens = {k}; expected at most {most}")
        require(
            self.max_requests is None or self.max_requests >= 1,
            f"max_requests = {self.max_requests}; expected at least 1, or nothing for all prompts",
        )
