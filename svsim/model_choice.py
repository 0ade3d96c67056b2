"""Which models a run is about: those of the trace's metadata, with those that the caller names over them.

A model is named by a preset (``svsim models``), a Hugging Face ``config.json``, or its folder. In the
metadata it is an object with its ``name``, its ``geometry`` (a config) unless a preset of that name has it,
and, of what drafts, ``drafter`` (``eagle3``; absent: a model of its own).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from svsim.errors import InputError, LatencyError
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.model_config import config_of

Models = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Models that a caller names, each by preset, config or folder; None: as the trace says."""

    target: str | Path | None = None
    draft: str | Path | None = None
    companion: str | Path | None = None

    def to_dict(self) -> dict[str, str]:
        """What was named, as plain values."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}

    @property
    def words(self) -> list[str]:
        """What was named, as arguments in Python."""
        return [f"{name}={value!r}" for name, value in self.to_dict().items()]

    def over(self, models: Models) -> dict[str, Any]:
        """The models of a trace's metadata, with the named ones over them. LatencyError if one is unknown."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**models, **{role: named_model(one) for role, one in named.items() if one is not None}}

    def replaced(self, models: Models) -> dict[str, tuple[str, str]]:
        """(name in a trace's metadata, name given) of the roles where both are told and differ."""
        now = self.over(models)
        told = {role: model_name(models.get(role)) for role in self.to_dict()}
        pairs = {role: (name, str(model_name(now[role]))) for role, name in told.items() if name}
        return {role: (old, new) for role, (old, new) in pairs.items() if not _is_same(old, new)}


AS_THE_TRACE_SAYS = ModelChoice()


def named_model(model: str | Path) -> dict[str, Any]:
    """A model as metadata has it; LatencyError for an unknown preset or a bad config."""
    path = Path(model)
    if str(model).strip() == "":
        raise InputError("a model's name is empty; give a preset of svsim models, or a config.json")
    if not (path.suffix == ".json" or path.exists()):
        return {"name": model_geometry(str(model)).name}
    config, file = config_of(path)
    geometry = ModelGeometry.from_config_file(file)  # refuses what it cannot read, here and not later
    return {"name": geometry.name, "geometry": config}


def model_name(model: object) -> str | None:
    """The name of a model in metadata, where it has one."""
    name = model.get("name") if isinstance(model, Mapping) else None
    return str(name) if name else None


def _is_same(old: str, new: str) -> bool:
    """Whether a name in metadata means the same preset, or is spelled the same."""
    if old == new:
        return True
    try:
        return model_geometry(old).name == new
    except LatencyError:
        return False
