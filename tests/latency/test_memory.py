"""What fits: numbers worked out by hand, and the laws of a memory plan."""

from dataclasses import replace

import numpy as np
import pytest

from svsim.errors import LatencyError
from svsim.latency.geometry import model_geometry
from svsim.latency.hardware import data_sheet
from svsim.latency.memory import KvDemand, MemoryPlan
from svsim.latency.pass_work import ModelOnGpus, models_on_gpus
from svsim.latency.shape import Role

LLAMA_70B, LLAMA_1B, LLAMA_3B = (model_geometry(n) for n in ("llama-3.1-70b", "llama-3.2-1b", "llama-3.2-3b"))


def plan(gpu: str, tp: int, *, draft: bool = False, companion: bool = False, k: int = 0, **options: float):
    models = models_on_gpus(LLAMA_70B, LLAMA_1B if draft else None, LLAMA_3B if companion else None, tp)
    return MemoryPlan(data_sheet(gpu), models, k, **options)


def test_70b_on_four_h100_by_hand() -> None:
    alone = plan("h100_sxm", 4)
    assert 4 * alone.weight_bytes == pytest.approx(141.1e9, rel=1e-3)  # 70.55 billion weights of two bytes
    assert alone.usable_bytes == pytest.approx(77.309e9, rel=1e-4)  # 0.9 of 80 GiB
    # 8192 tokens * 2 bytes * (4 * 8192 hidden + 3 * 7168 of the MLP's share)
    assert alone.activation_bytes == 8192 * 2 * (4 * 8192 + 3 * 7168)
    # a token: 80 layers * 2 KV heads * 128 * (K and V) * 2 bytes; 4096 of them, one slot more, and two
    # float32 rows over the vocabulary
    assert alone.batch_bytes(1, KvDemand.of_length(4096)) == 4097 * 81_920 + 2 * 4 * 128_256
    # 77.309 - 35.276 - 0.889 = 41.143 GB; 336.65 MB a sequence
    assert alone.largest_batch(KvDemand.of_length(4096)) == 122


def test_draft_and_companion_sit_whole_on_the_first_gpu() -> None:
    alone, both = plan("h100_sxm", 4), plan("h100_sxm", 4, draft=True, companion=True, k=7)
    small = LLAMA_1B.weight_bytes + LLAMA_3B.weight_bytes
    assert small == pytest.approx(2.47e9 + 6.42e9, rel=2e-3)
    assert both.weight_bytes - alone.weight_bytes == pytest.approx(small)
    # 16 layers * 8 heads * 64 and 28 * 8 * 128, each times 2 (K, V) * 2 bytes
    kv_bytes = 81_920 + 32_768 + 114_688
    rows = 2 * 8 + 7 + 7  # p twice for 8 tokens, q and c for 7
    sequence = (100 + 8) * kv_bytes + rows * 4 * 128_256
    assert both.batch_bytes(6, KvDemand.of_length(100)) == 6 * sequence


def test_a_replica_holds_a_slice_and_a_shard_a_share() -> None:
    """What six sequences on four GPUs take of the first: two of them in a replica."""
    demand = KvDemand.of_length(100)
    whole = plan("h100_sxm", 4, draft=True, k=7)
    target_only = plan("h100_sxm", 4, k=7)
    draft = whole.models[Role.DRAFT]
    replicated = replace(whole, models=whole.models | {Role.DRAFT: replace(draft, num_replicas=4)})
    sharded = replace(whole, models=whole.models | {Role.DRAFT: replace(draft, tensor_parallel=4)})
    assert replicated.weight_bytes == whole.weight_bytes
    assert sharded.weight_bytes - target_only.weight_bytes == pytest.approx(LLAMA_1B.weight_bytes / 4)
    kv_bytes, row_bytes = (100 + 8) * 32_768, 7 * 4 * 128_256
    extra = [
        p.batch_bytes(6, demand) - target_only.batch_bytes(6, demand) for p in (whole, replicated, sharded)
    ]
    assert extra == [6 * (kv_bytes + row_bytes), 2 * (kv_bytes + row_bytes), 6 * (kv_bytes / 4 + row_bytes)]
    sizes = [p.largest_batch(KvDemand.of_length(2048)) for p in (whole, replicated, sharded)]
    assert sizes[0] < sizes[1] and sizes[0] < sizes[2]


def test_quantized_weights_and_kv() -> None:
    bf16, fp8, kv8, fp4 = (
        replace(LLAMA_70B, weight_dtype=w, kv_dtype=k)
        for w, k in (("bf16", "bf16"), ("fp8", "bf16"), ("bf16", "fp8"), ("nvfp4", "bf16"))
    )
    outside = 2 * 2 * 128_256 * 8192  # embeddings and logits stay at two bytes
    layers = (bf16.weight_bytes - outside) / 2
    assert fp8.weight_bytes == outside + layers
    assert fp4.weight_bytes == outside + layers * 9 / 16
    assert kv8.kv_bytes_per_token == bf16.kv_bytes_per_token // 2 == fp8.kv_bytes_per_token // 2
    # 77.3 GB usable of one H100, 2.1 of them for activations; weights take 141.1, 72.7 or 42.7 GB
    plans = [MemoryPlan(data_sheet("h100_sxm"), models_on_gpus(g, None, None, 1)) for g in (bf16, fp8, fp4)]
    assert [p.largest_batch(KvDemand.of_length(1024)) > 0 for p in plans] == [False, True, True]


def test_kv_heads_are_replicated_where_they_are_fewer_than_gpus() -> None:
    on_16 = ModelOnGpus(LLAMA_70B, 16)
    assert on_16.num_kv_heads == 1
    assert on_16.kv_bytes_per_token == LLAMA_70B.kv_bytes_per_token // 8
    replicated = 2 * 80 * 8192 * 128 * 8 * 2  # K and V projections of 8 further heads, two bytes
    assert 16 * on_16.weight_bytes == pytest.approx(LLAMA_70B.weight_bytes + replicated)


def test_the_largest_batch_is_the_last_that_fits() -> None:
    demand = KvDemand(mean=700.0, deviation=400.0, longest=3000.0)
    full = plan("h100_sxm", 4, draft=True, k=5)
    largest = full.largest_batch(demand)
    assert largest > 100
    assert full.fits(largest, demand) and not full.fits(largest + 1, demand)
    assert not any(full.fits(n, demand) for n in (largest + 7, 2 * largest, 10**6))


@pytest.mark.parametrize(("gpu", "tp"), [("h100_sxm", 1), ("l40s", 2)])
def test_nothing_fits(gpu: str, tp: int) -> None:
    full = plan(gpu, tp)
    assert full.room_bytes < 0
    assert full.largest_batch(KvDemand.of_length(1)) == 0
    message = full.why_not(1, KvDemand.of_length(1))
    assert "no batch fits" in message and f"weights take {full.weight_bytes / 1e9:.1f} GB" in message


def test_a_batch_needs_its_mean_and_three_deviations() -> None:
    """Normal sums of 64 contexts stay below it in all but about one of 740 moments."""
    rng = np.random.default_rng(0)
    contexts = rng.gamma(4.0, 150.0, (100_000, 64))
    demand = KvDemand(600.0, 300.0, float(contexts.max()))
    exceeded = (contexts.sum(axis=1) > demand.tokens(64)).mean()
    assert 0.0005 < exceeded < 0.005
    assert demand.tokens(1) == 600 + 3 * 300
    in_step = KvDemand(600.0, 300.0, 2000.0, varies_by_itself=False)
    assert in_step.tokens(64) == 64 * 2000
    assert KvDemand(600.0, 300.0, 900.0).tokens(1) == 900


def test_more_room_with_a_larger_share() -> None:
    demand = KvDemand.of_length(2048)
    sizes = [plan("h100_sxm", 4, gpu_memory_utilization=u).largest_batch(demand) for u in (0.5, 0.9, 0.95)]
    assert sizes == sorted(set(sizes))
    with pytest.raises(LatencyError, match=r"gpu_memory_utilization = 1\.5; expected a share"):
        plan("h100_sxm", 4, gpu_memory_utilization=1.5)
