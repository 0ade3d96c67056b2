"""Panels of measured speculation as comparable cells: one row with speculation on, and its target-only row.

``read_cells`` reads the panels' CSV files by what ``engine_panels.json`` says of each: engine, GPU, model,
lengths where the file has none, and the rows that cannot judge a price, with the reason. A cell holds two
measurements on one basis, seconds per output token of a sequence:

    itl         median gap between streamed outputs / tokens per step; few steps hold a prefill
    tpot        (mean or median) time per output token: prefills of the other sequences are in it
    throughput  batch / (output tokens per second): all prefills are in it

so a predicted step is compared with the prefills that its basis holds (``prompts_per_token``).
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FACTS = json.loads(Path(__file__).with_suffix(".json").read_text())
# A median gap between outputs is a step without prefill while fewer steps than this hold one.
MOST_STEPS_WITH_PREFILL = 0.6
DEFAULT_PROMPT, DEFAULT_OUTPUT = 128, 256

Basis = Literal["itl", "tpot", "throughput"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What both rows of a cell share.

    gpu: a hardware name, or one that ``engine_panels.json`` describes. prompt_tokens, output_tokens: means.
    """

    panel: str
    family: str
    grade: str
    profile: str
    gpu: str
    tensor_parallel: int
    target: str
    draft: str | None
    weights: str | None
    kv: str | None
    dataset: str
    batch_size: int
    prompt_tokens: float
    output_tokens: float

    @property
    def mean_context(self) -> float:
        """KV tokens of a sequence halfway through its output."""
        return self.prompt_tokens + 0.5 * self.output_tokens


@dataclass(frozen=True, slots=True)
class Measured:
    """One row on one basis; ``prompts_per_token``: prefills in it, per output token of a sequence."""

    basis: Basis
    per_token_s: float
    prompts_per_token: float


@dataclass(frozen=True, slots=True)
class Speculation:
    """How a row drafts: ``tree_nodes`` are the tokens verified per sequence, None for a chain of k."""

    kind: str
    k: int
    tree_nodes: int | None
    acceptance_length: float

    @property
    def num_verified(self) -> int:
        """Tokens of one sequence in a verification, the last emitted one included."""
        return self.tree_nodes if self.tree_nodes else self.k + 1


@dataclass(frozen=True, slots=True)
class Cell:
    """A row; ``off``: its target-only row on the same basis, where there is one.

    unusable: why it neither pins nor judges a profile; empty: it does.
    """

    setting: Setting
    speculation: Speculation | None
    measured: Measured
    off: Measured | None
    unusable: str

    @property
    def step_s(self) -> float:
        """Seconds of a step, with the prefills of the basis."""
        length = self.speculation.acceptance_length if self.speculation else 1.0
        return self.measured.per_token_s * length

    @property
    def speedup(self) -> float | None:
        """Over target-only decoding."""
        return self.off.per_token_s / self.measured.per_token_s if self.off else None


def read_cells(folder: Path) -> list[Cell]:
    """Cells of every panel that ``engine_panels.json`` knows and the folder holds."""
    index = {row["panel"]: row for row in _rows(folder / "INDEX.csv")}
    return [
        cell
        for name, facts in FACTS["panels"].items()
        if (folder / f"{name}.csv").is_file()
        for cell in _cells(name, facts, index[name], list(_rows(folder / f"{name}.csv")))
    ]


def rows_of(folder: Path, panel: str) -> tuple[dict[str, str], ...]:
    """The rows of one panel's file; none where the folder does not hold it."""
    path = folder / f"{panel}.csv"
    return _rows(path) if path.is_file() else ()


@cache
def _rows(path: Path) -> tuple[dict[str, str], ...]:
    with path.open(newline="") as file:
        return tuple(csv.DictReader(file))


def _cells(
    name: str, facts: Mapping[str, Any], index: Mapping[str, str], rows: Sequence[dict[str, str]]
) -> Iterator[Cell]:
    of_speculation = [row for row in rows if _kind(row) != "none"]
    baselines = [row for row in rows if _kind(row) == "none"]
    for row in of_speculation:
        speculation = _speculation(row, facts)
        if speculation is None or not row["load"]:
            continue
        setting = _setting(name, facts, index, row)
        peers = [b for b in baselines if _group(b) == _group(row) and not _why_unusable(facts, b)]
        on, off = _pair(row, peers, setting, speculation.acceptance_length)
        if on is not None:
            yield Cell(setting, speculation, on, off, _why_unusable(facts, row))
    for row in baselines:
        setting = _setting(name, facts, index, row) if row["load"] or facts.get("load") else None
        off = _on_any_basis(row, setting, 1.0) if setting else None
        if setting and off:
            yield Cell(setting, None, off, None, _why_unusable(facts, row))


def _group(row: Mapping[str, str]) -> tuple[str, ...]:
    return row["panel"], row["dataset"], row["load"], row["engine_version"]


def _kind(row: Mapping[str, str]) -> str:
    return row["drafter_kind"] or "none"


def _speculation(row: Mapping[str, str], facts: Mapping[str, Any]) -> Speculation | None:
    """None where k or the acceptance length is not known."""
    length = _number(row["acceptance_length_incl_bonus"]) or facts.get("acceptance_length")
    k, nodes = _number(row["k"]), _number(row["tree_nodes"])
    if not k or not length:
        return None
    kind = _kind(row)
    if kind == "tree":
        kind = "eagle3" if re.search("eagle3|head3|headq", row["drafter"].lower()) else "eagle"
    return Speculation(kind, int(k), int(nodes) if nodes else None, length)


def _setting(name: str, facts: Mapping[str, Any], index: Mapping[str, str], row: dict[str, str]) -> Setting:
    return Setting(
        name,
        index["family"],
        index["grade"],
        facts["profile"],
        facts["gpu"],
        facts["tp"],
        facts["model"],
        facts.get("draft"),
        facts.get("weights"),
        facts.get("kv"),
        row["dataset"] or row["panel"].removeprefix(name),
        int(float(row["load"])),
        _number(row["mean_input"]) or facts.get("prompt") or DEFAULT_PROMPT,
        _number(row["mean_output"]) or facts.get("output") or DEFAULT_OUTPUT,
    )


def _pair(
    row: dict[str, str], peers: Sequence[dict[str, str]], setting: Setting, acceptance_length: float
) -> tuple[Measured | None, Measured | None]:
    """Both rows on the first basis that serves both; repeats of target-only rows are averaged."""
    for basis in _bases(setting, acceptance_length):
        on = _measured(row, basis, setting, acceptance_length)
        offs = [m for p in peers if (m := _measured(p, basis, setting, 1.0))]
        if on and (offs or not peers):
            mean_s = sum(m.per_token_s for m in offs) / len(offs) if offs else 0.0
            return on, Measured(basis, mean_s, offs[0].prompts_per_token) if offs else None
    return _on_any_basis(row, setting, acceptance_length), None


def _on_any_basis(row: dict[str, str], setting: Setting, acceptance_length: float) -> Measured | None:
    found = (_measured(row, b, setting, acceptance_length) for b in _bases(setting, acceptance_length))
    return next((m for m in found if m), None)


def _bases(setting: Setting, acceptance_length: float) -> tuple[Basis, ...]:
    with_prefill = setting.batch_size * acceptance_length / setting.output_tokens
    return ("itl", "tpot", "throughput") if with_prefill < MOST_STEPS_WITH_PREFILL else ("tpot", "throughput")


def _measured(
    row: dict[str, str], basis: Basis, setting: Setting, acceptance_length: float
) -> Measured | None:
    batch, output = setting.batch_size, setting.output_tokens
    if basis == "throughput":
        tok_s = _number(row["tok_s"])
        prompts = 0.0 if "prefill in throughput: 0" in row["notes"] else batch / output
        return Measured(basis, batch / tok_s, prompts) if tok_s else None
    if basis == "tpot":
        tpot_ms = _noted(row, "tpot_p50=") or _number(row["tpot_ms_mean"])
        return Measured(basis, tpot_ms / 1e3, (batch - 1) / output) if tpot_ms else None
    gap_ms = _noted(row, r"\(p50 ") or _number(row["itl_ms"])
    return Measured(basis, gap_ms / 1e3 / acceptance_length, 0.0) if gap_ms else None


def _noted(row: Mapping[str, str], key: str) -> float | None:
    found = re.search(key + r"([0-9.]+)", row["notes"])
    return float(found[1].rstrip(".")) if found else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _why_unusable(facts: Mapping[str, Any], row: Mapping[str, str]) -> str:
    rules = facts.get("unusable", [])
    for rule in FACTS[rules] if isinstance(rules, str) else rules:
        if _applies(rule, row):
            return str(rule["why"])
    return ""


def _applies(rule: Mapping[str, Any], row: Mapping[str, str]) -> bool:
    load = _number(row["load"]) or 0
    return (
        _kind(row) in rule.get("kinds", [_kind(row)])
        and row["dataset"] in rule.get("datasets", [row["dataset"]])
        and load in rule.get("loads", [load])
        and load >= rule.get("from_load", 0)
        and rule.get("notes", "") in row["notes"]
    )
