"""Constants that a few rows show by themselves: differences of one setting, switched on and off."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from engine_fit import Judged
from engine_panels import rows_of

QWEN3_LAYERS = 28  # of Qwen3-1.7B
NGRAM_PANEL = "qwen25-1.5b-0.5b-rtx4060"
ASYNC_PANEL = "apertus70b-gh200x4-diag"
EAGER_PANEL = "qwen3-1.7b-h100-forward"


@dataclass(frozen=True, slots=True)
class Reading:
    """Single readings of one constant, seconds, and the panels they come from."""

    values_s: tuple[float, ...]
    panels: tuple[str, ...]
    how: str

    @property
    def median_s(self) -> float:
        return float(np.median(self.values_s))


def readings(folder: Path, judged: Sequence[Judged]) -> dict[str, Reading]:
    """By the name of the constant; judged: all cells, the unusable ones included."""
    found = {
        "async_hidden_s": _async(folder),
        "retrieval_host_s": _retrieval(folder),
        "fp8_kv_draft_s": _fp8_kv(judged),
        "eager_layer_s": _eager(folder),
    }
    return {name: reading for name, reading in found.items() if reading.values_s}


def _async(folder: Path) -> Reading:
    """Target-only steps of one server with asynchronous scheduling off, less those with it on."""
    gaps: dict[str, list[float]] = {"on": [], "off": []}
    for row in rows_of(folder, ASYNC_PANEL):
        found = re.search(r"tpot_p50=([0-9.]+)", row["notes"])
        if found and row["drafter_kind"] == "none" and "P2" not in row["notes"] and row["load"] == "1":
            gaps["on" if "scheduling on" in row["notes"] else "off"].append(float(found[1]) / 1e3)
    if not gaps["on"] or not gaps["off"]:
        return Reading((), (), "")
    on = float(np.mean(gaps["on"]))
    return Reading(
        tuple(off - on for off in gaps["off"]), (ASYNC_PANEL,), "step with it off less step with it on"
    )


def _retrieval(folder: Path) -> Reading:
    """Steps of an n-gram run less target-only steps: the counters tell how many steps there were."""
    runs: dict[tuple[str, str], float] = {}
    for row in rows_of(folder, NGRAM_PANEL):
        found = {key: float(value) for key, value in re.findall(r"(\w+)=([0-9.]+)", row["notes"])}
        batch = float(row["load"])
        if row["drafter_kind"] == "none":
            steps = found["tokens"] / batch
        elif row["drafter_kind"] == "ngram":
            accepted = float(row["acceptance_rate"]) * float(row["k"]) * found["num_drafts"]
            steps = (found["tokens"] - accepted) / batch
        else:
            continue
        if batch <= 4:  # 48 prompts: beyond, ramp and drain
            runs[row["drafter_kind"], row["load"]] = found["elapsed_s"] / steps
    loads = [load for kind, load in runs if kind == "ngram" and ("none", load) in runs]
    gaps = tuple(runs["ngram", load] - runs["none", load] for load in loads)
    return Reading(gaps, (NGRAM_PANEL,), "mean step with n-grams less target-only step, batch 1 to 4")


def _fp8_kv(judged: Sequence[Judged]) -> Reading:
    """Measured less predicted steps of heads beside an FP8 cache on a GPU without FP8."""
    cells = [one for one in judged if one.is_on and one.cell.unusable.startswith("FP8 KV")]
    cells = [one for one in cells if one.cell.measured.basis == "itl"]
    lengths = [one.cell.speculation.acceptance_length for one in cells if one.cell.speculation]
    gaps = tuple(
        (one.cell.measured.per_token_s - one.predicted_s) * length
        for one, length in zip(cells, lengths, strict=True)
    )
    panels = tuple(dict.fromkeys(one.cell.setting.panel for one in cells))
    return Reading(gaps, panels, "measured less predicted step")


def _eager(folder: Path) -> Reading:
    """A pass that no graph covers takes the same whatever its tokens: launches, layer by layer."""
    found = [
        re.search(r"eager.*flat ([0-9.]+)-([0-9.]+) ms", row["notes"]) for row in rows_of(folder, EAGER_PANEL)
    ]
    values = tuple(float(text) / 1e3 / QWEN3_LAYERS for match in found if match for text in match.groups())
    return Reading(values, (EAGER_PANEL,), "flat time of eager passes of 32 to 512 tokens / layers")
