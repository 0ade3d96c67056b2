"""What ``svsim methods``, ``hardware``, ``models`` and ``engines`` list, as plain JSON values."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from svsim.decoding.drafters import DRAFTER_NAMES, drafter_named
from svsim.decoding.preset import Option
from svsim.decoding.presets import PRESETS, parse_method
from svsim.decoding.work import Reading, Schedule
from svsim.latency.engines.catalogue import DEFAULT_ENGINE, engine_profile, engine_profiles
from svsim.latency.engines.profile import EngineProfile
from svsim.latency.geometry import MODELS_SOURCE, ModelGeometry, model_presets
from svsim.latency.hardware import GpuDataSheet, data_sheet, data_sheets
from svsim.latency.prices import hourly_prices


def method_entries() -> list[dict[str, Any]]:
    """Every method by name: options with default and domain, losslessness, what it needs, source.

    needs: columns of the trace, with the default options; accept_prob is of the target's half.
    """
    entries = []
    for name, preset in PRESETS.items():
        method = parse_method(name)
        entries.append(
            {
                "method": name,
                "summary": preset.summary,
                "options": {key: option.default for key, option in preset.options.items()},
                "option_domains": {key: _domain(option) for key, option in preset.options.items()},
                "lossless": method.lossless.value,
                "why": method.why_lossless,
                "is_bound": method.is_bound,
                "needs": [
                    *(*method.signals, *method.outcomes),
                    *(["accept_prob"] if method.selection.knows_target else []),
                ],
                "runs_companion": method.uses_companion,
                "learns_from_profile": method.belief is not None and method.belief.needs_profile,
                "source": preset.source,
            }
        )
    return entries


def drafter_entries() -> list[dict[str, Any]]:
    """Every drafter by name: what it is and costs, and the passes of a step that drafts k tokens.

    passes: ``k`` one after another, ``1`` of k tokens per sequence, or ``0``. reads_again: the first pass
    takes every token emitted in the last step. has_own_shape: priced by its config, or the usual head of
    the target.
    """
    entries = []
    for name in DRAFTER_NAMES:
        drafter = drafter_named(name)
        work = drafter.work(None)
        is_sequential = work.schedule is Schedule.SEQUENTIAL
        entries.append(
            {
                "drafter": name,
                "summary": drafter.summary,
                "passes": "k" if is_sequential else str(work.num_passes(1)),
                "reads_again": is_sequential and work.reading is Reading.ALL,
                "has_own_shape": work.is_head,
                "drafts_on_host": work.on_host,
            }
        )
    return entries


def _domain(option: Option) -> dict[str, Any]:
    """What an option may be: one of some words, text of a form, or a number of a range."""
    if option.words:
        return {"type": "word", "words": list(option.words)}
    if option.pattern:
        return {"type": "text", "form": option.form}
    kind = "number" if option.is_number else "integer"
    words = {"words": [option.or_word]} if option.or_word else {}
    return {"type": kind, "at_least": option.at_least, "at_most": option.at_most, **words}


def hardware_entries(names: Sequence[str] = (), prices: str | Path | None = None) -> list[dict[str, Any]]:
    """Data sheets (of all GPUs, or those named) with sources, and the price of an hour where one is known."""
    known = hourly_prices(prices)
    sheets: list[GpuDataSheet] = [data_sheet(name) for name in names] or list(data_sheets().values())
    entries = []
    for sheet in sheets:
        entry = asdict(sheet)
        price = known.get(sheet.name)
        entry["usd_per_gpu_hour"] = price.usd_per_gpu_hour if price else None
        entry["sources"] = dict(sheet.sources) | ({"usd_per_gpu_hour": price.source} if price else {})
        entries.append(entry)
    return entries


def engine_entries(names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Engine profiles (all, or those named): constants with what pins them, errors where left out."""
    found = (engine_profile(name) for name in names) if names else engine_profiles().values()
    return [_engine_entry(profile) for profile in found if profile is not None]


def _engine_entry(profile: EngineProfile) -> dict[str, Any]:
    entry = asdict(profile)
    first, last = entry.pop("versions")
    is_default = profile.name == DEFAULT_ENGINE
    return {**entry, "first_version": first, "last_version": last, "is_default": is_default}


def model_entries(config: str | Path | None = None) -> list[dict[str, Any]]:
    """Geometries of the presets, or of one ``config.json``, with derived sizes."""
    if config is not None:
        geometry = ModelGeometry.from_config_file(config)
        return [_model_entry(geometry.name, geometry, str(config))]
    return [_model_entry(name, geometry, MODELS_SOURCE) for name, geometry in model_presets().items()]


def _model_entry(name: str, geometry: ModelGeometry, source: str) -> dict[str, Any]:
    shape = asdict(geometry)
    repository = shape.pop("name")
    return {
        "model": name,
        "repository": repository,
        **shape,
        "num_parameters": geometry.num_parameters,
        "weight_bytes": geometry.weight_bytes,
        "kv_bytes_per_token": geometry.kv_bytes_per_token,
        "source": source,
    }
