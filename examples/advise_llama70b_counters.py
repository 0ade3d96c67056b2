"""Tonight's question: this server's counters in, a decision and vLLM's configuration out.

Llama-3.1-70B with an EAGLE-3 head on four H200. The two scrapes of vLLM's /metrics are written here, so that
the example runs anywhere: their numbers are this example's assumption, not a measurement.
"""

import json
import tempfile
from pathlib import Path

import svsim

COUNTERS = """\
vllm:spec_decode_num_drafts_total{{model_name="llama-3.1-70b"}} {drafts}
vllm:spec_decode_num_draft_tokens_total{{model_name="llama-3.1-70b"}} {drafted}
vllm:spec_decode_num_accepted_tokens_total{{model_name="llama-3.1-70b"}} {accepted}
vllm:spec_decode_num_accepted_tokens_per_pos_total{{model_name="llama-3.1-70b",position="0"}} {first}
vllm:spec_decode_num_accepted_tokens_per_pos_total{{model_name="llama-3.1-70b",position="1"}} {second}
vllm:spec_decode_num_accepted_tokens_per_pos_total{{model_name="llama-3.1-70b",position="2"}} {third}
"""
BEFORE = {"drafts": 1000, "drafted": 3000, "accepted": 1500, "first": 700, "second": 480, "third": 320}
AFTER = {
    "drafts": 101000,
    "drafted": 303000,
    "accepted": 160500,
    "first": 72700,
    "second": 51480,
    "third": 36320,
}

with tempfile.TemporaryDirectory() as folder:
    before, after = Path(folder, "before.prom"), Path(folder, "after.prom")
    before.write_text(COUNTERS.format(**BEFORE))
    after.write_text(COUNTERS.format(**AFTER))
    found = svsim.advise(
        [before, after],
        import_format="vllm-metrics",
        prompt_tokens=800,
        output_tokens=300,
        concurrency=[1, 8, 64],
        drafter="eagle3",
        hardware="h200_sxm:tp=4",
    )

for one in found.advice:
    print(
        f"{one.batch_size:3d} at once: {one.verdict}, {one.use}, {one.speedup_vs_td:.1f}x "
        f"({one.low:.1f} to {one.high:.1f}), {one.usd_per_million_tokens:.1f} $/M tokens"
    )
print("vllm serve ... --speculative-config", json.dumps(found.configuration("vllm").settings))
