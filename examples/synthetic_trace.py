"""Traces made to order: how much must a companion tell before Speculative Verification pays?"""

from pathlib import Path

import svsim
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings
from svsim.synthetic.trace import synthesize

MY_GPU = str(Path(__file__).parent / "my_gpu.json")
CHAT = TaskSettings(acceptance=0.7, name="chat", output_tokens=LengthLaw(150, 0.5))

print("gain asked, measured, ceiling | batch 64: best fixed length, SV against it")
for gain_bits in (0.2, 0.3, 0.4):
    settings = SyntheticSettings(
        tasks=(CHAT,), num_requests=300, information_gain_bits=gain_bits, overlap_correlation=0.7
    )
    trace = synthesize(settings, seed=1)

    found = svsim.info(trace, latency=MY_GPU).information
    gain = found.beliefs[0].gain_bits.value

    methods = ["sd:k=1", "sd:k=2", "sd:k=3", "sd:k=5", "sv:k=5"]
    *_, sv = svsim.replay(trace, methods=methods, batch_sizes=[64], latency=MY_GPU).rows
    print(
        f"     {gain_bits:.2f}     {gain:.2f}     {found.ceiling_bits.value:.2f} | {sv.sd_baseline}  "
        f"{sv.speedup_vs_sd:.2f}x [{sv.speedup_vs_sd_ci_low:.2f}, {sv.speedup_vs_sd_ci_high:.2f}]"
    )
