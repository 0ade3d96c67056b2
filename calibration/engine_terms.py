"""What a cell's steps are made of: bare passes from svsim's own latency models, before any engine's price."""

from dataclasses import dataclass, replace
from functools import cache

from engine_panels import FACTS, Cell, Setting

from svsim.errors import LatencyError
from svsim.latency.database import database_latency
from svsim.latency.draft_heads import draft_head
from svsim.latency.geometry import ModelGeometry, model_geometry, model_presets
from svsim.latency.hardware import GpuDataSheet, data_sheets
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


def geometry(name: str) -> ModelGeometry:
    """A preset, or a shape that ``engine_panels.json`` tells."""
    if name in FACTS["models"] and name not in model_presets():
        return ModelGeometry(name=name, **FACTS["models"][name])
    return model_geometry(name)


def gpu(name: str) -> GpuDataSheet:
    """A data sheet of svsim, or one that ``engine_panels.json`` tells."""
    sheets = data_sheets()
    if name in sheets:
        return sheets[name]
    return GpuDataSheet(name, **FACTS["gpus"][name], sources={})


@cache
def latency_of(setting_key: tuple[str, int, str, str | None, str | None, str | None, str]) -> LatencyModel:
    """Database where it has GPU and model, else roofline; the drafter as its kind says."""
    hardware, degree, target_name, draft_name, weights, kv, kind = setting_key
    target = geometry(target_name)
    target = replace(target, weight_dtype=weights or target.weight_dtype, kv_dtype=kv or target.kv_dtype)
    draft, sharded = None, ()
    if kind == "model" and draft_name:
        draft = geometry(draft_name)
    elif kind in tuple(HeadKind):
        plain = replace(target, weight_dtype="bf16", kv_dtype="bf16")
        draft, sharded = draft_head(kind, plain).geometry, (Role.DRAFT,)
    if hardware in DATABASE_GPUS:
        try:
            return database_latency(
                hardware, degree, target, draft, sharded=sharded, out_of_range="extrapolate"
            )
        except LatencyError as error:
            print("roofline for", setting_key, error)
    sheet = gpu(hardware)
    return RooflineLatency(sheet, models_on_gpus(target, draft, None, degree, sharded))


def latency_for(setting: Setting, kind: str) -> LatencyModel:
    return latency_of(
        (
            setting.gpu,
            setting.tensor_parallel,
            setting.target,
            setting.draft,
            setting.weights,
            setting.kv,
            kind,
        )
    )


def terms_of(cell: Cell) -> Terms:
    """Bare passes of one cell."""
    setting, speculation = cell.setting, cell.speculation
    kind = speculation.kind if speculation else "none"
    latency = latency_for(setting, kind)
    batch, context = setting.batch_size, setting.mean_context
    is_mixture = geometry(setting.target).num_experts > 0

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
    attention_s = pass_s - seconds(Role.TARGET, batch, batch, 0.0)
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
