"""The README's errors with speculation on are those of the page that the fit writes."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README, PAGE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/engine_prices.md"))
ROWS = {
    "vLLM 0.20 and later": "vllm-0.20",
    "vLLM 0.8 to 0.10": "vllm-0.8",
    "SGLang 0.5": "sglang-0.5-sync",
    "TensorRT-LLM (one panel)": "trtllm",
    "A100": "a100_sxm",
    "GH200": "gh200",
    "H100": "h100_sxm",
    "H200": "h200_sxm",
    "dense": "dense",
    "mixtures, from kernels": "mixture",
    "mixtures, by roofline": "mixture, by roofline",
}
BATCHES = ("1", "2-8", "9-32", "33+")


def test_errors_by_engine_gpu_and_kind():
    for words, group in ROWS.items():
        cells = re.search(rf"^\| {re.escape(words)} \|(.*)\|$", README, re.M)
        assert cells, words
        said = [cell.strip().replace(" %", "") for cell in cells[1].split("|")]
        for batch, number in zip(BATCHES, said, strict=True):
            line = re.search(
                rf"^\| {re.escape(group)} \| {re.escape(batch)} \| \d+ \| ([0-9.]+)% \|", PAGE, re.M
            )
            assert number == (line[1] if line else ""), (words, batch)


def test_the_overall_error():
    pairs, mean, p90, worst, by_panel = re.search(
        r"^\| speedup \| (\d+) \| \d+ \| ([0-9.]+)% \| [^|]*\| [^|]*\| ([0-9.]+)% \| (\d+)% \|"
        r"[^|]*\| ([0-9.]+)% \|",
        PAGE,
        re.M,
    ).groups()
    said = " ".join(README.split())
    assert f"fitted to {pairs} published pairs" in said
    assert f"All pairs: {mean} %, one in ten above {p90} %, the worst {worst} %" in said
    assert f"by panel {by_panel} %" in said
