"""A small file of every format of ``svsim import``, made here, with what it says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Recording:
    """Files of one format, options they need, and the acceptance that they tell."""

    format_name: str
    files: Mapping[str, str]
    k: int
    length: float
    rates: Sequence[float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None

    def write(self, folder: Path) -> list[Path]:
        paths = [folder / name for name in self.files]
        for path, text in zip(paths, self.files.values(), strict=True):
            path.write_text(text)
        return paths


def scrape(
    prefix: str, drafts: int, drafted: int, by_position: Sequence[int], labels: str = 'model_name="qwen"'
) -> str:
    """Counters as ``/metrics`` shows them, beside others."""
    comma = "," if labels else ""
    lines = [
        f"# HELP {prefix}:spec_decode_num_drafts_total Number of spec decoding drafts.",
        f"# TYPE {prefix}:spec_decode_num_drafts_total counter",
        f"{prefix}:spec_decode_num_drafts_total{{{labels}}} {drafts}.0",
        f"{prefix}:spec_decode_num_draft_tokens_total{{{labels}}} {drafted}.0",
        f"{prefix}:spec_decode_num_accepted_tokens_total{{{labels}}} {sum(by_position)}.0",
        f'{prefix}:num_requests_running{{engine="0",{labels}}} 3.0 1717689600000',
    ]
    lines += [
        f'{prefix}:spec_decode_num_accepted_tokens_per_pos_total{{{labels}{comma}position="{d}"}} {num}.0'
        for d, num in enumerate(by_position)
    ]
    return "\n".join(lines) + "\n"


def jsonl(*rows: object) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


VLLM_LOG = """\
INFO 06-06 14:20:24 [loggers.py:123] Engine 000: Avg generation throughput: 85.1 tokens/s, Running: 4 reqs
INFO 06-06 14:20:34 [metrics.py:86] SpecDecoding metrics: Mean acceptance length: 2.50, Accepted throughput: \
30.00 tokens/s, Drafted throughput: 60.00 tokens/s, Accepted: 300 tokens, Drafted: 600 tokens, Per-position \
acceptance rate: 0.800, 0.500, 0.200, Avg Draft acceptance rate: 50.0%
INFO 06-06 14:20:44 [metrics.py:86] SpecDecoding metrics: Mean acceptance length: 1.90, Accepted throughput: \
9.00 tokens/s, Drafted throughput: 30.00 tokens/s, Accepted: 90 tokens, Drafted: 300 tokens, Per-position \
acceptance rate: 0.600, 0.200, 0.100, Avg Draft acceptance rate: 30.0%
"""
SGLANG_LOG = """\
[2026-02-01 10:00:00] Prefill batch, #new-seq: 1, #new-token: 512, #cached-token: 0, #running-req: 0
[2026-02-01 10:00:10] Decode batch, #running-req: 8, #token: 9000, token usage: 0.10, accept len: 3.00, \
accept rate: 0.50, cuda graph: True, gen throughput (token/s): 900.1, #queue-req: 0
[2026-02-01 10:00:20] Decode batch, #running-req: 2, #token: 900, token usage: 0.01, accept len: 2.00, \
accept rate: 0.25, cuda graph: True, gen throughput (token/s): 200.5, #queue-req: 0
"""
LLAMACPP_LOG = """\
0.09.401.679 I slot print_timing: id  1 | task 90 | prompt eval time = 12.0 ms
0.09.401.679 I slot print_timing: id  1 | task 90 | draft acceptance = 0.50000 (  150 accepted /   300 \
generated), mean acceptance length =  2.50, acceptance rate per position = (0.800, 0.500, 0.200)
0.19.401.679 I slot print_timing: id  1 | task 91 | draft acceptance = 0.25000 (   75 accepted /   300 \
generated), mean acceptance length =  1.75, acceptance rate per position = (0.500, 0.200, 0.050)
"""
GOLDEN = """\
# Acceptance Length (AL) reference values.
model-x:
  thinking_on:
    1: 1.80
    2: 2.40
    3: 2.85
  thinking_off:
    1: 1.70
    2: 2.10
    3: 2.05
"""
BENCH = {
    "backend": "openai-chat", "model_id": "org/target-8b", "num_prompts": 40, "completed": 40,
    "request_rate": "inf", "max_concurrency": 8, "duration": 10.0, "total_input_tokens": 4000,
    "total_output_tokens": 8000, "request_throughput": 4.0, "output_throughput": 800.0, "mean_ttft_ms": 30.0,
    "mean_tpot_ms": 9.6, "spec_decode_acceptance_rate": 45.0, "spec_decode_acceptance_length": 1.9,
    "spec_decode_num_drafts": 4000, "spec_decode_draft_tokens": 8000, "spec_decode_accepted_tokens": 3600,
    "spec_decode_per_position_acceptance_rates": [0.6, 0.3],
}  # fmt: skip
SGLANG_BENCH = {
    "backend": "sglang", "dataset_name": "random", "request_rate": "inf", "max_concurrency": 16,
    "duration": 32.33, "completed": 80, "total_input_tokens": 8000, "total_output_tokens": 40000,
    "request_throughput": 1.2, "output_throughput": 1237.4, "mean_ttft_ms": 88.0, "mean_tpot_ms": 12.6,
    "accept_length": 1.9,
}  # fmt: skip


def aiperf(length: float, prompt: int, output: int) -> dict[str, Any]:
    values = {
        "spec_decode_acceptance_length": length,
        "input_sequence_length": prompt,
        "output_sequence_length": output,
    }
    return {"metadata": {}, "metrics": {n: {"value": v, "unit": "tokens"} for n, v in values.items()}}


def response(name: str, accepted: Sequence[int]) -> dict[str, Any]:
    stats = {
        "num_spec_tokens": 3,
        "per_step_accepted": list(accepted),
        "per_step_drafted": [3] * len(accepted),
    }
    return {"id": name, "usage": {"prompt_tokens": 50}, "metrics": {"speculative_decoding": stats}}


def iteration(drafted: int, accepted: int, requests: int) -> dict[str, Any]:
    stats = {
        "numDraftTokens": drafted,
        "numAcceptedTokens": accepted,
        "numRequestsWithDraftTokens": requests,
        "acceptanceLength": 1 + accepted / requests if requests else 0,
    }
    return {"iter": 1, "specDecodingStats": stats}


STEPS = ((2, 0, 3, 1), (0, 0), (3, 3, 1))  # 16 accepted tokens in 9 steps
STEPS_LENGTH, STEPS_RATES = 1 + 13 / 9, (6 / 9, 4 / 9, 3 / 9)
ANSWERS = [
    {"question_id": q, "category": "math", "choices": [{"accept_lengths": [n + 1 for n in steps]}]}
    for q, steps in enumerate(STEPS)
]
OWN_CSV = "request_id,k,accepted,prompt_tokens\n" + "".join(
    f"r{r},3,{n},40\n" for r, steps in enumerate(STEPS) for n in steps
)
DENSE = {"id": "a", "prompt_token_ids": [1] * 9, "acc_eagle": {"acc_len": [3, 1, 2, 1, 3, 2, 1, 1]}}

RECORDINGS: dict[str, Recording] = {
    "specdecode-bench": Recording(
        "specdecode-bench", {"f.jsonl": jsonl(DENSE)}, 2, 2.0, None, {"drafter": "eagle"}
    ),
    "vllm-metrics": Recording(
        "vllm-metrics", {"m.prom": scrape("vllm", 1000, 3000, [700, 400, 100])}, 3, 2.2, (0.7, 0.4, 0.1),
        model="qwen",
    ),
    "vllm-metrics, two scrapes": Recording(
        "vllm-metrics",
        {
            "before.prom": scrape("vllm", 500, 1500, [500, 500, 500]),
            "after.prom": scrape("vllm", 1500, 4500, [1200, 900, 600]),
        },
        3, 2.2, (0.7, 0.4, 0.1), model="qwen",
    ),
    "vllm-log": Recording("vllm-log", {"s.log": VLLM_LOG}, 3, 2.3, (2.2 / 3, 0.4, 0.5 / 3)),
    "vllm-requests": Recording(
        "vllm-requests", {"r.jsonl": jsonl(*(response(f"r{i}", s) for i, s in enumerate(STEPS)))},
        3, STEPS_LENGTH, STEPS_RATES,
    ),
    "vllm-bench": Recording(
        "vllm-bench", {"b.json": json.dumps(BENCH)}, 2, 1.9, (0.6, 0.3), model="org/target-8b"
    ),
    "sglang-metrics": Recording(
        "sglang-metrics",
        {"m.prom": 'sglang:spec_accept_length{model_name="glm",tp_rank="0"} 2.5\n'
                   'sglang:spec_num_steps{model_name="glm",tp_rank="0"} 4.0\n'
                   'sglang:gen_throughput{model_name="glm",tp_rank="0"} 812.5\n'},
        4, 2.5, model="glm",
    ),
    "sglang-log": Recording("sglang-log", {"s.log": SGLANG_LOG}, 4, 2.8),
    "sglang-log, bench": Recording("sglang-log", {"b.jsonl": jsonl(SGLANG_BENCH)}, 3, 1.9, None, {"k": 3}),
    "trtllm": Recording(
        "trtllm", {"i.jsonl": jsonl({"iter": 0}, iteration(24, 15, 8), iteration(12, 3, 4))}, 3, 2.5
    ),
    "llamacpp": Recording(
        "llamacpp", {"m.prom": scrape("llamacpp", 1000, 3000, [700, 400, 100], "")}, 3, 2.2, (0.7, 0.4, 0.1)
    ),
    "llamacpp, log": Recording("llamacpp", {"s.log": LLAMACPP_LOG}, 3, 2.125, (0.65, 0.35, 0.125)),
    "aiperf": Recording(
        "aiperf", {"p.jsonl": jsonl(aiperf(2.0, 100, 200), aiperf(3.0, 50, 600))}, 4, 800 / 300, None,
        {"k": 4},
    ),
    "golden-al": Recording("golden-al", {"g.yaml": GOLDEN}, 3, 2.85, (0.8, 0.6, 0.45), model="model-x"),
    "spec-bench": Recording(
        "spec-bench", {"a.jsonl": jsonl(*ANSWERS)}, 3, STEPS_LENGTH, STEPS_RATES, {"k": 3}
    ),
    "accept-lengths": Recording(
        "accept-lengths", {"a.jsonl": jsonl(*({"k": 3, "accepted": list(s)} for s in STEPS))},
        3, STEPS_LENGTH, STEPS_RATES,
    ),
    "accept-lengths, CSV": Recording(
        "accept-lengths", {"a.csv": OWN_CSV}, 3, STEPS_LENGTH, STEPS_RATES
    ),
}  # fmt: skip
