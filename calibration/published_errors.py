"""Predict measurements that others published, and print every error as Markdown.

    python calibration/published_errors.py            (needs the extra: svsim[hardware])

Facts and sources: ``tests/published/hardware_facts.json``. Each engine's overhead per step is calibrated
on the FIRST row of its source (one number), the other rows are predicted with it; the error without
calibration (svsim's default overhead) stands beside it. Nothing is left out.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from svsim.latency.database import database_latency
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.hardware import data_sheet
from svsim.latency.kernel_database import KernelDatabase
from svsim.latency.model import LatencyModel
from svsim.latency.pass_work import HOST_OVERHEAD_PER_STEP_S
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape

FACTS = Path(__file__).parents[1] / "tests" / "published" / "hardware_facts.json"
EAGLE_VOCABULARY = 32_000  # EAGLE-3's head for Llama-3.1-8B: one layer, and logits over so many tokens


@dataclass(frozen=True, slots=True)
class Check:
    """One published number and its prediction; ``calibrated``: used to set a free number."""

    what: str
    source: str
    published: float
    predicted: float
    uncalibrated: float
    calibrated: bool

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.published - 1.0

    @property
    def uncalibrated_error(self) -> float:
        """Relative error without calibration."""
        return self.uncalibrated / self.published - 1.0


def model(
    latency: str, hardware: str, tp: int, target: ModelGeometry, draft: ModelGeometry | None = None
) -> LatencyModel:
    """The target on ``tp`` GPUs, priced from the database or by the roofline."""
    if latency == "roofline":
        return RooflineLatency.of(hardware, tp, target, draft)
    return database_latency(hardware, tp, target, draft, out_of_range="extrapolate")


def step_s(priced: LatencyModel, role: Role, batch: int, tokens: int, context: float) -> float:
    """Seconds of one pass, without host overhead."""
    return float(priced.predict_s(StepShape(role, batch, tokens, batch * context)))


def target_only(facts: dict[str, Any], latency: str) -> Iterator[Check]:
    """Tokens per second of target-only decoding, prefill included."""
    overhead_of: dict[str, float] = {}
    for row in facts["target_only_tok_s"]:
        batch, prompt, output = row["batch"], row["prompt_tokens"], row["output_tokens"]
        priced = model(latency, row["hardware"], row["tp"], model_geometry(row["model"]))
        prefill_s = step_s(priced, Role.TARGET, batch, batch * prompt, 0)
        contexts = prompt + np.arange(1, output)
        decode_s = float(priced.predict_s(StepShape(Role.TARGET, batch, batch, batch * contexts)).sum())
        gpu_s, num_tokens = prefill_s + decode_s, batch * output
        is_first = row["source"] not in overhead_of
        if is_first:
            overhead_of[row["source"]] = max((num_tokens / row["tok_s"] - gpu_s) / output, 0.0)
        calibrated, default = (
            num_tokens / (gpu_s + output * overhead_s)
            for overhead_s in (overhead_of[row["source"]], HOST_OVERHEAD_PER_STEP_S)
        )
        what = f"{row['model']}, {row['tp']} x {row['hardware']}, batch {batch}: tok/s"
        yield Check(what, row["source"], row["tok_s"], calibrated, default, is_first)


def linear_step(facts: dict[str, Any], latency: str) -> Iterator[Check]:
    """Level and slopes of a step fitted to vLLM by others, host overhead included on both sides."""
    fact = facts["linear_step"]
    priced = model(latency, fact["hardware"], fact["tp"], model_geometry(fact["model"]))

    def published(tokens: int, kv: int) -> float:
        passes = fact["fixed_s"] + fact["per_new_token_s"] * tokens + fact["per_kv_token_s"] * kv
        return float(passes + fact["overhead_per_step_s"])

    def predicted(batch: int, tokens: int, kv: int) -> float:
        return step_s(priced, Role.TARGET, batch, tokens, kv / batch) + HOST_OVERHEAD_PER_STEP_S

    where = f"{fact['model']}, {fact['hardware']}"
    for batch, tokens in ((1, 1), (32, 32), (32, 128), (128, 128), (128, 512)):
        kv = batch * 1000
        ours = predicted(batch, tokens, kv)
        what = f"{where}, {tokens} tokens of {batch} at 1000: ms per step"
        yield Check(what, fact["source"], 1e3 * published(tokens, kv), 1e3 * ours, 1e3 * ours, False)
    slope = (predicted(128, 512, 128_000) - predicted(128, 128, 128_000)) / 384
    what = f"{where}, batch 128: us per new token"
    yield Check(what, fact["source"], 1e6 * fact["per_new_token_s"], 1e6 * slope, 1e6 * slope, False)


def chain_speedups(facts: dict[str, Any], latency: str) -> Iterator[Check]:
    """Speedups of EAGLE-3 chains over batch sizes; mean acceptance length calibrated at the first."""
    target = model_geometry("llama-3.1-8b")
    for fact in facts["chain_speedups"]:
        head = replace(
            target,
            name="EAGLE-3",
            num_layers=1,
            vocabulary_size=EAGLE_VOCABULARY,
            has_tied_embeddings=True,
        )
        priced = model(latency, fact["hardware"], 1, target, head)
        k, context = fact["k"], 300.0

        def cost(batch: int, priced: LatencyModel = priced, k: int = k, context: float = context) -> float:
            alone = step_s(priced, Role.TARGET, batch, batch, context)
            verify = step_s(priced, Role.TARGET, batch, batch * (k + 1), context)
            draft = k * step_s(priced, Role.DRAFT, batch, batch, context)
            return (verify + draft + HOST_OVERHEAD_PER_STEP_S) / (alone + HOST_OVERHEAD_PER_STEP_S)

        acceptance_length = fact["speedup"][0] * cost(fact["batch"][0])
        for batch, speedup in zip(fact["batch"], fact["speedup"], strict=True):
            ours = acceptance_length / cost(batch)
            what = f"EAGLE-3, {fact['engine']}, {fact['hardware']}, batch {batch}: speedup"
            yield Check(what, fact["source"], speedup, ours, ours, batch == fact["batch"][0])


def long_context_speedups(facts: dict[str, Any], latency: str) -> Iterator[Check]:
    """Self-speculation with a draft that reads a small KV budget; acceptance as published."""
    for fact in facts["long_context_speedups"]:
        priced = model(latency, fact["hardware"], fact["tp"], model_geometry(fact["model"]))
        for batch, k, speedup in zip(fact["batch"], fact["k"], fact["speedup"], strict=True):
            context, budget, a = fact["context"], fact["draft_budget"], fact["acceptance"]
            alone = step_s(priced, Role.TARGET, batch, batch, context)
            verify = step_s(priced, Role.TARGET, batch, batch * (k + 1), context)
            draft = k * step_s(priced, Role.TARGET, batch, batch, budget)
            tokens = (1 - a ** (k + 1)) / (1 - a)
            host = HOST_OVERHEAD_PER_STEP_S
            ours = tokens * (alone + host) / (verify + draft + host)
            what = f"MagicDec, {fact['model']}, 8 x {fact['hardware']}, batch {batch}, k={k}: speedup"
            yield Check(what, fact["source"], speedup, ours, ours, False)


def whole_passes(facts: dict[str, Any], latency: str) -> Iterator[Check]:
    """Forward passes measured as a whole, host time left out on both sides."""
    for fact in facts["whole_passes"]:
        priced = model(latency, fact["hardware"], fact["tp"], model_geometry(fact["model"]))
        b, tokens, context = fact["num_sequences"], fact["num_sequences"] * fact["queries"], fact["context"]
        rows = None if fact["with_logits"] else 0
        shape = StepShape(Role.TARGET, b, tokens, b * context, num_logit_tokens=rows)
        ours = float(priced.predict_s(shape))
        what = f"{fact['model']}, {fact['tp']} x {fact['hardware']}, {tokens} tokens of {b} at {context}: ms"
        yield Check(what, fact["source"], fact["ms"], 1e3 * ours, 1e3 * ours, False)


def layer_products(facts: dict[str, Any], latency: str) -> Iterator[Check]:
    """The four matrix products of one layer."""
    for fact in facts["layer_products"]:
        shape, hardware = model_geometry(fact["model"]), fact["hardware"]
        sizes = (
            ((shape.num_heads + 2 * shape.num_kv_heads) * shape.head_size, shape.hidden_size),
            (shape.hidden_size, shape.num_heads * shape.head_size),
            (2 * shape.intermediate_size, shape.hidden_size),
            (shape.hidden_size, shape.intermediate_size),
        )
        for tokens, us in zip(fact["tokens"], fact["us"], strict=True):
            ours = 1e6 * sum(product_s(latency, hardware, columns, rows, tokens) for columns, rows in sizes)
            what = f"{fact['model']}, {hardware}, products of a layer, {tokens} tokens: us"
            yield Check(what, fact["source"], us, ours, ours, False)


def product_s(latency: str, hardware: str, columns: int, rows: int, tokens: int) -> float:
    """One 16-bit matrix product on one GPU."""
    if latency == "roofline":
        return RooflineLatency(data_sheet(hardware), {}).product_s(columns, rows, tokens)
    kernels = KernelDatabase.load(hardware)
    mode = kernels.common.GEMMQuantMode.bfloat16
    product = kernels.kernel(kernels.operations.GEMM("product", 1, columns, rows, mode))
    return kernels.token_seconds(product, tokens)


def all_checks(latency: str) -> list[Check]:
    """Every published number with its prediction."""
    facts = json.loads(FACTS.read_text("utf-8"))
    parts = (
        target_only, linear_step, chain_speedups, long_context_speedups, whole_passes, layer_products,
    )  # fmt: skip
    return [check for part in parts for check in part(facts, latency)]


def main() -> None:
    """Print the Markdown table of ``calibration/README.md`` and a summary by source."""
    argparse.ArgumentParser(description="errors against published measurements").parse_args()
    of = {latency: all_checks(latency) for latency in ("database", "roofline")}
    print("| published | value | database | roofline | database, uncalibrated |\n|---|---|---|---|---|")
    for ours, theirs in zip(of["database"], of["roofline"], strict=True):
        cells = ("calibrated" if check.calibrated else f"{check.error:+.1%}" for check in (ours, theirs))
        value = f"{ours.what} ({ours.source}) | {ours.published:.4g}"
        print(f"| {value} | {' | '.join(cells)} | {ours.uncalibrated_error:+.1%} |")
    print("\n| mean and worst absolute error | predicted | database | roofline |\n|---|---|---|---|")
    for source in (*dict.fromkeys(check.source for check in of["database"]), "all"):
        judged = {
            latency: [c.error for c in checks if not c.calibrated and source in (c.source, "all")]
            for latency, checks in of.items()
        }
        if judged["database"]:
            cells = (summary(errors) for errors in judged.values())
            print(f"| {source} | {len(judged['database'])} | {' | '.join(cells)} |")


def summary(errors: list[float]) -> str:
    """Mean and worst absolute error."""
    sizes = np.abs(errors)
    return f"{sizes.mean():.1%}, {sizes.max():.1%}"


if __name__ == "__main__":
    main()
