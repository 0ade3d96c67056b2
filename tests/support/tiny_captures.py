"""Settings of a capture that takes a second on a CPU."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from svsim.trace_capture.settings import CaptureSettings, SamplingSettings


def settings_for(triplet: Path, out: Path, **changes: Any) -> CaptureSettings:
    base = CaptureSettings(
        str(triplet / "target"),
        str(triplet / "draft"),
        str(triplet / "companion"),
        triplet / "prompts_mixed.jsonl",
        out,
        SamplingSettings(temperature=0.8),
        num_speculative_tokens=4,
        num_output_tokens=12,
        batch_size=4,
        num_rule_bias_stride=2,
        device="cpu",
        ignore_eos=True,
    )
    return replace(base, **changes)
