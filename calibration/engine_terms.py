"""What a cell's steps are made of: bare passes from svsim's own latency models, before any engine's price."""

from dataclasses import dataclass, replace
from functools import cache

from engine_panels import FACTS, Cell, Setting

from svsim.latency.database import database_latency
from svsim.latency.draft_heads import draft_head
from svsim.latency.engines.latency import reading_s
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.hardware import GpuDataSheet, data_sheets
from svsim.latency.head_latency import with_head
from svsim.latency.head_shape import HeadKind
from svsim.latency.model import LatencyModel
from svsim.latency.pass_work import models_on_gpus
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape

DATABASE_GPUS = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "l40s")


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds of one step's parts (no host time) and of one prompt's prefill.

    pass_s: target-only pass. verify_s, attention_s: the verification, and the KV reading in it.
    draft_s, num_draft_passes: all passes of the drafter. prompt_s: one prompt beside the running batch;
    draft_prompt_s: through the drafter. scaled_s: of ``verify_s``, what ``mixture`` scales (0 without).
    """

    source: str
    is_mixture: bool
    pass_s: float
    verify_s: float = 0.0
    scaled_s: float = 0.0
    attention_s: float = 0.0
    draft_s: float = 0.0
    num_draft_passes: int = 0
    prompt_s: float = 0.0
    draft_prompt_s: float = 0.0


def gpu(name: str) -> GpuDataSheet:
    """A data sheet of svsim, or one that ``engine_panels.json`` tells."""
    sheets = data_sheets()
    if name in sheets:
        return sheets[name]
    return GpuDataSheet(name, **FACTS["gpus"][name], sources={})


@cache
def bare_passes(
    gpu_name: str, degree: int, target: ModelGeometry, draft: ModelGeometry | None
) -> LatencyModel:
    """Database where it has the GPU, else roofline."""
    if gpu_name in DATABASE_GPUS:
        return database_latency(gpu_name, degree, target, draft, out_of_range="extrapolate")
    return RooflineLatency(gpu(gpu_name), models_on_gpus(target, draft, None, degree, ()))


def latency_of(setting: Setting, kind: str) -> LatencyModel:
    """The latency model of a cell's passes: a head's by its shape, as the product prices it."""
    plain = model_geometry(setting.target)
    weights, kv = setting.weights or plain.weight_dtype, setting.kv or plain.kv_dtype
    target = replace(plain, weight_dtype=weights, kv_dtype=kv)
    draft = model_geometry(setting.draft) if kind == "model" and setting.draft else None
    bare = bare_passes(setting.gpu, setting.tensor_parallel, target, draft)
    if kind not in tuple(HeadKind):
        return bare
    head = draft_head(kind, replace(target, weight_dtype="bf16", kv_dtype="bf16")).geometry
    headed = with_head(bare, head)
    assert headed is not None
    return headed


def terms_of(cell: Cell) -> Terms:
    """Bare passes of one cell."""
    setting, speculation = cell.setting, cell.speculation
    kind = speculation.kind if speculation else "none"
    latency = latency_of(setting, kind)
    batch, context = setting.batch_size, setting.mean_context
    is_mixture = model_geometry(setting.target).num_experts > 0

    def seconds(role: Role, sequences: int, tokens: float, mean_context: float) -> float:
        return float(latency.predict_s(StepShape(role, sequences, tokens, sequences * mean_context)))

    pass_s = seconds(Role.TARGET, batch, batch, context)
    prompt = max(setting.prompt_tokens, 1.0)
    prompt_s = seconds(Role.TARGET, 1, prompt, 0.0)
    if setting.profile.startswith("vllm") and batch > 1:
        prompt_s -= seconds(Role.TARGET, 1, 1, 0.0)
    common = Terms(latency.source, is_mixture, pass_s, prompt_s=max(prompt_s, 0.0))
    if speculation is None:
        return common
    tokens = batch * speculation.num_verified
    verify_s = seconds(Role.TARGET, batch, tokens, context)
    attention_s = float(reading_s(latency, batch, batch * context))
    is_one_pass = kind in tuple(HeadKind) and HeadKind(kind).is_one_pass
    k = speculation.k
    if kind == "ngram":
        return replace(common, verify_s=verify_s, attention_s=attention_s)
    if is_one_pass:
        draft_s, passes = seconds(Role.DRAFT, batch, batch * k, context), 1
    else:
        first = batch * (
            min(speculation.acceptance_length, 2.0) if kind == "model" else speculation.acceptance_length
        )
        draft_s = seconds(Role.DRAFT, batch, first, context)
        draft_s += (k - 1) * seconds(Role.DRAFT, batch, batch, context + k / 2)
        passes = k
    return replace(
        common,
        verify_s=verify_s,
        scaled_s=verify_s - pass_s if is_mixture and latency.source.startswith("roofline") else 0.0,
        attention_s=attention_s,
        draft_s=draft_s,
        num_draft_passes=passes,
        draft_prompt_s=seconds(Role.DRAFT, 1, prompt, 0.0) - seconds(Role.DRAFT, 1, 1, 0.0),
    )
