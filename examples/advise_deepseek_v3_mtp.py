"""DeepSeek-V3 with its own multi-token prediction module on eight H200: at which load does it pay?

Acceptance is a published figure: 85 to 90 % of second tokens (arXiv 2412.19437, section 5.4.3); the lower end
is taken. Longer drafts than one token did not run there: their ranges hold everything from none accepted to
all. The lengths of prompts and outputs are this example's assumption.
"""

import svsim

found = svsim.advise(
    accept_by_position=[0.85],
    prompt_tokens=1000,
    output_tokens=500,
    concurrency=[1, 8, 64, 256],
    target="deepseek-v3",
    drafter="mtp",
    hardware="h200_sxm:tp=8",
)
for one in found.advice:
    print(
        f"{one.batch_size:3d} at once: {one.verdict}, k = {one.params['k']}: {one.speedup_vs_td:.1f}x "
        f"({one.low:.1f} to {one.high:.1f}), {one.tpot_s * 1e3:.0f} ms a token, "
        f"fits: {'yes' if one.fits_memory else 'no'}"
    )
