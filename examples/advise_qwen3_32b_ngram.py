"""Qwen3-32B in FP8 on one H100 with vLLM's n-gram look-up: is it worth switching on, and how long?

Acceptance is a published figure: github.com/vllm-project/vllm/issues/19254 reports .543, .357 and .264 by
position at k = 3 for Qwen3-32B-FP8. The lengths of prompts and outputs are this example's assumption.
"""

import svsim

found = svsim.advise(
    accept_by_position=".543/.357/.264",
    prompt_tokens=1000,
    output_tokens=300,
    concurrency=[1, 8, 32, 128],
    target="qwen3-32b",
    drafter="ngram",
    hardware="h100_sxm:quant=fp8",
)
for one in found.advice:
    k = f"k = {one.params['k']}{', a length that did not run' if one.is_assumed else ''}"
    print(
        f"{one.batch_size:3d} at once: {one.verdict}, {k}: {one.speedup_vs_td:.1f}x "
        f"({one.low:.1f} to {one.high:.1f}); pays above {one.break_even_acceptance_length:.1f} tokens a step"
    )
