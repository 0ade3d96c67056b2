"""Write llama70b.parquet: Llama-3.1-70B with draft Llama-3.2-1B and companion Llama-3.2-3B.

    python traces/make_llama70b.py --out traces/llama70b.parquet

RECONSTRUCTED: nobody recorded these chains. They are synthetic coherent chains
(``svsim.synthetic.trace``) whose observables are set to published figures, listed with their
sources in ``PUBLISHED`` and copied, with what was assumed and what was then measured, into the file's
metadata. Running it again writes the same bytes (same package versions). See README.md beside it.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import brentq
from scipy.special import expit, logit

from svsim.latency.geometry import model_geometry
from svsim.speculation_math import discretized_information_gain_bits
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings
from svsim.synthetic.trace import synthesize
from svsim.trace.file import save_trace
from svsim.trace.measurement import SyntheticMeasurement, measure
from svsim.trace.token_trace import TokenTrace

HERE = Path(__file__).parent
STEP_TIMES = HERE.parent / "calibration" / "llama70b_step_times.parquet"
SEED = 70
NUM_SPECULATIVE_TOKENS = 8
NUM_REQUESTS = 600
DATE = "2026-11-20"
MODELS = {
    "target": "meta-llama/Llama-3.1-70B-Instruct",
    "draft": "meta-llama/Llama-3.2-1B-Instruct",
    "companion": "meta-llama/Llama-3.2-3B-Instruct",
}
SAMPLING = {"greedy": False, "temperature": 0.6, "top_p": 0.9}


@dataclass(frozen=True, slots=True)
class Figure:
    """A published number: its values, what they are, where they stand."""

    values: dict[str, float]
    meaning: str
    source: str


NANO_PEARL = "repository smart-lty/nano-PEARL, docs/bench_summary.md at 27015b7 (H200, greedy, batch 1)"
SPECDECODE_BENCH = (
    "measured on the data of repository SpecDecode-Bench/simulator at 2fdccbd (arXiv 2601.11580)"
)
PUBLISHED = {
    "pearl_aime": Figure(
        {"tokens": 23442, "requests": 60, "steps": 100, "mat": 8.502},
        "Llama-3.2-1B drafting for Llama-3.1-70B, AIME",
        NANO_PEARL,
    ),
    "pearl_cnndm": Figure(
        {"tokens": 37899, "requests": 128, "steps": 100, "mat": 5.429},
        "Llama-3.2-1B drafting for Llama-3.1-70B, CNN/DailyMail",
        NANO_PEARL,
    ),
    "pearl_humaneval": Figure(
        {"tokens": 68227, "requests": 128, "steps": 100, "mat": 12.746},
        "Llama-3.2-1B drafting for Llama-3.1-70B, HumanEval",
        NANO_PEARL,
    ),
    "pearl_gamma": Figure(
        {"gamma": 12},
        "draft length: not published; the whole number that fits tokens per step and MAT of all tasks best",
        "derived from " + NANO_PEARL,
    ),
    "speed_bench": Figure(
        {"acceptance_length": 2.44, "num_speculative_tokens": 3},
        "Llama-3.3-70B with a small draft model, greedy, 880 mixed prompts; bonus token included",
        "SPEED-Bench (arXiv 2604.09557), from a summary that does not name the draft model",
    ),
    "chinchilla": Figure(
        {
            "greedy_s": 7.00e-3,
            "nucleus_s": 7.52e-3,
            "target_s": 14.1e-3,
            "draft_s": 1.8e-3,
            "num_speculative_tokens": 4,
        },
        "seconds per token of Chinchilla 70B with a 4B draft on XSum, greedy and nucleus sampling",
        "Chen et al. (arXiv 2302.01318), table 1",
    ),
    "speculative_verification": Figure(
        {"information_gain_bits": 0.22, "overlap_correlation": 0.73},
        "Llama3 1B draft, 3B companion, 70B target: I(X; S, A), and correlation of the two overlaps",
        "Speculative Verification (arXiv 2509.24328 v2), table 10",
    ),
    "course_of_acceptance": Figure(
        {"request_spread": 0.039, "burstiness": 0.10, "drift": 0.13},
        "EAGLE drafting for Llama-3.1-8B, greedy, means over GSM8K and CNN/DailyMail, acceptance at depth 1: "
        "deviation between requests, lag-1 autocorrelation, slope along the output",
        SPECDECODE_BENCH,
    ),
    "math_lengths": Figure(
        {"prompt": 94, "prompt_variation": 0.23, "output": 166, "output_variation": 0.34},
        "tokens of GSM8K requests (mean, coefficient of variation), Llama-3.1-8B",
        SPECDECODE_BENCH,
    ),
    "summarization_lengths": Figure(
        {"prompt": 838, "prompt_variation": 0.47, "output": 323, "output_variation": 0.32},
        "tokens of CNN/DailyMail requests (mean, coefficient of variation), Llama-3.1-8B",
        SPECDECODE_BENCH,
    ),
}

NOTICE = (
    "Reconstructed from published aggregates, not captured. What SV gains on this trace rests on an "
    "assumption: that S and A carry the published information (0.22 bits, correlation 0.73) in the way "
    "the synthetic model spreads it over tokens. Captures will replace it."
)
ASSUMPTIONS = (
    "Acceptance at temperature 0.6 and top-p 0.9 is greedy acceptance moved on the log-odds scale by "
    "what nucleus sampling cost Chinchilla 70B on XSum; the same for all tasks.",
    "Tokens per step of nano-PEARL follow its two-state Markov model, independent acceptances, gamma 12.",
    "nano-PEARL's GSM8K row (24 tokens between rejections) is left out: its benchmark runs 100 steps "
    "past the end of the answer, 671 tokens where answers have about 166, so most of it is repetition. "
    "HumanEval (533 tokens) may be flattered in the same way. Task math: acceptance of AIME, lengths of"
    " GSM8K.",
    "Acceptance of chat is that of SPEED-Bench's mixed prompts, its draft model taken to be Llama-3.2-1B.",
    "Spread between requests, burstiness and drift are those of a greedy EAGLE drafter on an 8B target.",
    "I(X; S, A): X in 10 equal bins, (S, A) in 10 x 10 equal cells, minus its value after shuffling; "
    "the paper does not state its bins of X.",
    "Similarity S has the same law as the target overlap; how polar both are (overlap_spread 1.2), the "
    "draft's entropy (0.6 nats), wrong-prefix decay (0.25), the mix of tasks and the lengths of chat "
    "and code are choices.",
)


def pearl_acceptance(figure: Figure) -> float:
    """Per-token acceptance a from tokens per step of PEARL: pi E[post] + (1 - pi), independent acceptances.

    In its post-verify state, reached with probability pi = a/(a + 1 - a^gamma), a step emits
    (1 - a^gamma)/(1 - a) tokens, in its pre-verify state one (arXiv 2408.11850).
    """
    v, gamma = figure.values, PUBLISHED["pearl_gamma"].values["gamma"]

    def tokens_per_step(a: float) -> float:
        post = a / (a + 1 - a**gamma)
        emitted: float = 1 - post + post * (1 - a**gamma) / (1 - a)
        return emitted

    return float(
        brentq(lambda a: tokens_per_step(a) - v["tokens"] / (v["requests"] * v["steps"]), 0.01, 0.999)
    )


def length_acceptance(acceptance_length: float, num_speculative_tokens: float) -> float:
    """Constant acceptance a with 1 + a + ... + a^K = acceptance length (arXiv 2211.17192)."""
    depths = np.arange(num_speculative_tokens + 1)
    return float(brentq(lambda a: (a**depths).sum() - acceptance_length, 0.01, 0.999))


def sampling_shift() -> float:
    """Log-odds of acceptance under nucleus sampling minus greedy, from seconds per emitted token."""
    v = PUBLISHED["chinchilla"].values
    k = v["num_speculative_tokens"]
    step_s = v["target_s"] + k * v["draft_s"]
    nucleus, greedy = (length_acceptance(step_s / v[name], k) for name in ("nucleus_s", "greedy_s"))
    return float(logit(nucleus) - logit(greedy))


def task_acceptance() -> dict[str, float]:
    """Depth-1 acceptance of every task at the trace's sampling settings."""
    chat = PUBLISHED["speed_bench"].values
    greedy = {
        "chat": length_acceptance(chat["acceptance_length"], chat["num_speculative_tokens"]),
        "code": pearl_acceptance(PUBLISHED["pearl_humaneval"]),
        "math": pearl_acceptance(PUBLISHED["pearl_aime"]),
        "summarization": pearl_acceptance(PUBLISHED["pearl_cnndm"]),
    }
    return {task: round(float(expit(logit(a) + sampling_shift())), 4) for task, a in greedy.items()}


def published_lengths(figure: str) -> tuple[LengthLaw, LengthLaw]:
    """Prompt and output laws of a published length figure."""
    v = PUBLISHED[figure].values
    prompt, output = (LengthLaw(v[p], v[f"{p}_variation"], 16, 4096) for p in ("prompt", "output"))
    return prompt, output


def llama70b_settings(num_requests: int) -> SyntheticSettings:
    """The published figures as settings."""
    lengths = {
        "chat": (LengthLaw(160, 1.0, 16, 4096), LengthLaw(300, 0.6, 16, 4096)),
        "code": (LengthLaw(150, 0.5, 16, 4096), LengthLaw(220, 0.5, 16, 4096)),
        "math": published_lengths("math_lengths"),
        "summarization": published_lengths("summarization_lengths"),
    }
    tasks = tuple(
        TaskSettings(acceptance=a, name=name, prompt_tokens=lengths[name][0], output_tokens=lengths[name][1])
        for name, a in task_acceptance().items()
    )
    course = PUBLISHED["course_of_acceptance"].values
    signals = PUBLISHED["speculative_verification"].values
    return SyntheticSettings(
        tasks=tasks,
        num_requests=num_requests,
        num_speculative_tokens=NUM_SPECULATIVE_TOKENS,
        information_gain_bits=signals["information_gain_bits"],
        information_measure="paper",
        overlap_correlation=signals["overlap_correlation"],
        draft_entropy_nats=0.6,
        request_spread=course["request_spread"],
        burstiness=course["burstiness"],
        drift=course["drift"],
        wrong_prefix_decay=0.25,
        overlap_spread=1.2,
    )


def build_trace(num_requests: int) -> tuple[TokenTrace, SyntheticMeasurement]:
    """The trace with its provenance, and what was measured on it."""
    trace = synthesize(llama70b_settings(num_requests), SEED)
    measured = measure(trace)
    metadata = replace(
        trace.metadata,
        acceptance_kind="reconstructed",
        models={role: {"name": name, "geometry": geometry_config(name)} for role, name in MODELS.items()},
        sampling=SAMPLING,
        dataset="synthetic requests of four tasks (chat, code, math, summarization); no text",
        software={name: version(name) for name in ("numpy", "scipy", "numba", "pyarrow")},
        command=f"python traces/make_llama70b.py --num-requests {num_requests}",
        date=creation_day(),
        extra={
            **trace.metadata.extra,
            "notice": NOTICE,
            "assumptions": list(ASSUMPTIONS),
            "published": {name: asdict(figure) for name, figure in PUBLISHED.items()},
            "sampling_shift_log_odds": round(sampling_shift(), 4),
            "measured": rounded(measured.to_dict() | paper_gains(trace)),
        },
    )
    return replace(trace, metadata=metadata, step_times=read_step_times()), measured


def geometry_config(name: str) -> dict[str, Any]:
    """The model's shape under the keys of a Hugging Face config.json."""
    shape = model_geometry(name)
    return {
        "num_hidden_layers": shape.num_layers,
        "hidden_size": shape.hidden_size,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_size,
        "intermediate_size": shape.intermediate_size,
        "vocab_size": shape.vocabulary_size,
        "tie_word_embeddings": shape.has_tied_embeddings,
    }


def creation_day() -> str:
    """``DATE``, or the day of SOURCE_DATE_EPOCH where that is set: never the clock."""
    if "SOURCE_DATE_EPOCH" not in os.environ:
        return DATE
    from svsim.trace.metadata import creation_date

    return creation_date()


def read_step_times() -> dict[str, np.ndarray[Any, Any]]:
    """The step times beside the calibration script that made them."""
    table = pq.read_table(STEP_TIMES)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def paper_gains(trace: TokenTrace) -> dict[str, float]:
    """I(X; S, A) of the depth-1 column at the paper's resolutions, shuffle-corrected."""
    assert trace.target.accept_prob is not None
    signals = trace.observable.require(("similarity", "companion_accept"), "the information gain")
    a, s, companion = (column[:, 0] for column in (trace.target.accept_prob, *signals))
    gains = {}
    grids: tuple[int | Literal["adaptive"], ...] = (5, 10, 20, "adaptive")
    for x_bins in (5, 10):
        for cells in grids:
            gain = discretized_information_gain_bits(
                *(a, s, companion),
                num_x_bins=x_bins,
                num_signal_bins=cells,
                generator=np.random.default_rng(0),
            )
            gains[f"paper_gain_bits_x{x_bins}_cells_{cells}"] = gain.corrected_bits
    return gains


def rounded(value: Any) -> Any:
    """Floats to six digits, through containers."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def print_table(settings: SyntheticSettings, measured: SyntheticMeasurement) -> None:
    """Asked and measured, line by line."""
    by_task = measured.acceptance_by_task or {}
    lines: list[tuple[str, Any, Any]] = [
        (f"acceptance, {task.name}", task.acceptance, by_task[task.name]) for task in settings.tasks
    ]
    for name in ("request_spread", "burstiness", "drift", "wrong_prefix_decay", "overlap_correlation"):
        lines.append((name, getattr(settings, name), getattr(measured, name)))
    lines += [
        ("I(X; S, A), bits", settings.information_gain_bits, measured.paper_gain_bits),
        ("information gain about acceptance, bits", None, measured.information_gain_bits),
        ("its ceiling, bits", None, measured.information_ceiling_bits),
        ("verified acceptance of SD(8)", None, measured.verified_acceptance),
    ]
    depths = measured.acceptance_by_depth or ()
    lines += [(f"acceptance at depth {d}, given those before", None, a) for d, a in enumerate(depths, 1)]
    print(f"{measured.num_requests} requests, {measured.num_positions} positions")
    print(f"{'':42s}{'asked':>10s}{'measured':>10s}")
    for name, asked, got in lines:
        print(f"{name:42s}{'' if asked is None else f'{asked:.4f}':>10s}{got:10.4f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file and print what was asked for and what was made."""
    parser = argparse.ArgumentParser(description="write the reconstructed llama70b trace")
    parser.add_argument("--out", type=Path, default=HERE / "llama70b.parquet")
    parser.add_argument("--num-requests", type=int, default=NUM_REQUESTS)
    options = parser.parse_args(arguments)
    trace, measured = build_trace(options.num_requests)
    save_trace(trace, options.out)
    print_table(llama70b_settings(options.num_requests), measured)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
