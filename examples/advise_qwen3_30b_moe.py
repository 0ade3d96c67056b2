"""Qwen3-30B-A3B, a mixture of experts, on one A100 with SGLang and an EAGLE-3 head.

Acceptance is a published figure, and a mean alone: 2.64 tokens a step at k = 3 on GSM8K
(github.com/sgl-project/SpecForge, docs/spec_bundle, d9952d16; measured on an H200). How it is spread over
positions is not published, so ranges of other lengths are wide. Lengths of requests are this example's
assumption.
"""

import svsim

found = svsim.advise(
    acceptance_length=2.64,
    k=3,
    prompt_tokens=200,
    output_tokens=300,
    concurrency=[1, 8, 64],
    target="qwen3-30b-a3b",
    drafter="eagle3",
    hardware="a100_sxm",
    engine="sglang-0.5",
)
for one in found.advice:
    print(
        f"{one.batch_size:3d} at once: {one.verdict}, k = {one.params['k']}: {one.speedup_vs_td:.1f}x "
        f"({one.low:.1f} to {one.high:.1f})"
    )
still_open = [one for one in found.advice if one.measure_with]
print(f"{len(still_open)} of {len(found.advice)} to be measured")
