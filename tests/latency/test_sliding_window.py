"""Layers with a window read, keep and compute no more than it."""

from dataclasses import replace

import numpy as np
import pytest

from svsim.latency.database import database_latency
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.hardware import data_sheet
from svsim.latency.memory import KvDemand, MemoryPlan
from svsim.latency.pass_work import ModelOnGpus
from svsim.latency.roofline import Efficiencies, RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.sliding_window import WindowedLayers

FULL = model_geometry("llama-3.1-8b")
HALF = replace(FULL, name="half", window=WindowedLayers(16, 1024))
ALL = replace(FULL, name="all", window=WindowedLayers(32, 1024))


def seconds(model: ModelGeometry, sequences: float, tokens: float, kv: float, **efficiencies: float) -> float:
    latency = RooflineLatency.of("h100_sxm", 1, model)
    latency = replace(latency, efficiencies=Efficiencies(**efficiencies))
    return float(latency.predict_s(StepShape(Role.TARGET, sequences, tokens, kv)))


def test_inside_the_window_nothing_changes() -> None:
    assert seconds(HALF, 4, 4, 4 * 1000) == pytest.approx(seconds(FULL, 4, 4, 4 * 1000), rel=1e-12)
    assert HALF.kv_bytes(1000) == FULL.kv_bytes(1000) == 1000 * FULL.kv_bytes_per_token


def test_beyond_it_windowed_layers_read_the_window() -> None:
    """By hand: 16 of 32 layers read 1,024 of 16,384 tokens of each of 8 sequences."""
    saved_s = seconds(FULL, 8, 8, 8 * 16384) - seconds(HALF, 8, 8, 8 * 16384)
    saved_bytes = 16 * 8 * (16384 - 1024) * 2 * 8 * 128 * 2
    assert saved_s == pytest.approx(saved_bytes / (3.35e12 * Efficiencies().attention), rel=1e-9)
    assert seconds(ALL, 8, 8, 8 * 16384) == pytest.approx(seconds(ALL, 8, 8, 8 * 2048), rel=1e-12)


def test_a_prompts_queries_meet_a_window_each() -> None:
    """Attention of a long prompt grows with its length, not with its square."""

    def attention_s(model: ModelGeometry, tokens: int) -> float:
        return seconds(model, 1, tokens, 0, arithmetic=1e-3) - seconds(
            replace(model, window=WindowedLayers(32, 1)), 1, tokens, 0, arithmetic=1e-3
        )

    assert attention_s(ALL, 16384) == pytest.approx(2 * attention_s(ALL, 8192), rel=0.01)
    assert attention_s(FULL, 16384) == pytest.approx(4 * attention_s(FULL, 8192), rel=0.01)


def test_a_sequence_keeps_its_window() -> None:
    plans = [MemoryPlan(data_sheet("h100_sxm"), {Role.TARGET: ModelOnGpus(m, 1)}, 3) for m in (FULL, HALF)]
    full, half = (plan.batch_bytes(4, KvDemand.of_length(9000)) for plan in plans)
    assert full - half == 4 * (9000 - 1024) * FULL.kv_bytes_per_token / 2
    short = [plan.batch_bytes(4, KvDemand.of_length(500)) for plan in plans]
    assert short[0] == short[1]
    assert HALF.kv_bytes(9000) == FULL.kv_bytes_per_token / 2 * (9000 + 1024)


def test_a_windows_demand_is_an_upper_bound() -> None:
    demand = KvDemand(mean=900.0, deviation=400.0, longest=3000.0)
    kept = demand.within(1024)
    assert (kept.mean, kept.deviation, kept.longest) == (900.0, 400.0, 1024)
    lengths = np.minimum(np.random.default_rng(0).normal(900, 400, 100_000), 1024)
    assert kept.tokens(64) > 64 * lengths.mean()
    assert demand.within(500).tokens(64) == 64 * 500


def test_heads_of_windowed_layers_may_differ() -> None:
    """Gemma 4: eight KV heads of 256 in windows, two of 512 whose values are their keys' projection."""
    model = replace(
        FULL, num_layers=6, num_heads=16, num_kv_heads=2, head_size=512, shares_key_value=True,
        window=WindowedLayers(5, 1024, num_kv_heads=8, head_size=256),
    )  # fmt: skip
    windowed = 4096 * 256 * (2 * 16 + 2 * 8)
    full = 4096 * 512 * (2 * 16 + 2)
    assert model.mixer_weights == 5 * windowed + full
    assert model.kv_bytes(4096) == 2 * (5 * 1024 * 2 * 8 * 256 + 4096 * 2 * 2 * 512)
    assert 4 * ModelOnGpus(model, 4).weight_bytes - model.weight_bytes == 2 * (4 - 2) * 4096 * 512


def test_measured_attention_reads_the_window() -> None:
    """At 8k tokens of context half the layers take as long as at 1k."""
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    full, half = (database_latency("h100_sxm", 1, model) for model in (FULL, HALF))
    assert half.source == "database"

    def at(model: object, context: int) -> float:
        return float(model.predict_s(StepShape(Role.TARGET, 32, 32, 32 * context)))  # type: ignore[attr-defined]

    assert at(half, 1000) == pytest.approx(at(full, 1000), rel=0.01)
    grows = (at(half, 8000) - at(half, 1000)) / (at(full, 8000) - at(full, 1000))
    assert grows == pytest.approx(0.5, abs=0.03)
