"""Which models a run is about: those of the trace's metadata, with those that the caller names over them.

A model is named by a preset (``svsim models``), a Hugging Face ``config.json``, or its folder. In the
metadata it is an object with its ``name``, its ``geometry`` (a config) unless a preset of that name has it.
What drafts also says its ``drafter`` (``eagle3``, ``ngram``) if that is no model of its own; the
``geometry`` is then the head's, if one was given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svsim.decoding.drafters import MODEL, Drafter, ShapedHeadDrafter, drafter_named
from svsim.errors import InputError, LatencyError
from svsim.latency.draft_heads import draft_head, head_from_config
from svsim.latency.geometry import find_model, model_geometry
from svsim.latency.head_shape import HeadKind
from svsim.latency.model_config import config_of

if TYPE_CHECKING:
    from svsim.decoding.method import DecodingMethod

Models = Mapping[str, Any]
ROLES = ("target", "draft", "companion")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Models that a caller names, each by preset, config or folder; None: as the trace says.

    drafter: what drafts in methods that leave it open (``DRAFTER_NAMES``); head: a head's own config.
    Raises MethodError or LatencyError for a drafter or head that is not known, InputError for two drafters.
    """

    target: str | Path | None = None
    draft: str | Path | None = None
    companion: str | Path | None = None
    drafter: str | None = None
    head: str | Path | None = None

    def to_dict(self) -> dict[str, str]:
        """What was named, as plain values."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}

    @property
    def words(self) -> list[str]:
        """What was named, as arguments in Python."""
        return [f"{name}={value!r}" for name, value in self.to_dict().items()]

    def over(self, models: Models) -> dict[str, Any]:
        """The models of a trace's metadata, with the named ones over them. LatencyError if one is unknown."""
        named = {role: getattr(self, role) for role in ROLES}
        return {**models, **{role: named_model(one) for role, one in named.items() if one is not None}}

    def drafter_of(self, models: Models) -> Drafter | None:
        """What drafts: as named, else as a trace's metadata says; None where that is left to the method."""
        if self.drafter is None and self.head is None:
            return None if self.draft is not None else recorded_drafter(models)
        name = self.drafter or draft_head(None, None, self.head).kind.value
        drafter = drafter_named(name, self.head)
        if self.draft is not None and drafter != MODEL:
            raise InputError(
                f"`drafter={name}` is no draft model, but `draft` names one; leave `draft` out"
                + (", or give the head's config with `head`" if name in set(HeadKind) else "")
            )
        return drafter

    def stored(self, models: Models) -> dict[str, Any]:
        """The models of a trace that is made: as ``over``, and what drafts."""
        drafter = self.drafter_of({})
        if drafter is None or drafter == MODEL:
            return self.over(models)
        entry: dict[str, Any] = {"name": f"{drafter.name} drafter", "drafter": drafter.name}
        if self.head is not None:
            entry |= {"name": draft_head(None, None, self.head).geometry.name, **_config(self.head)}
        return {**self.over(models), "draft": entry}

    def replaced(self, models: Models) -> dict[str, tuple[str, str]]:
        """(name in a trace's metadata, name given) of the roles where both are told and differ."""
        now = self.over(models)
        told = {role: model_name(models.get(role)) for role in self.to_dict()}
        pairs = {role: (name, str(model_name(now[role]))) for role, name in told.items() if name}
        return {role: (old, new) for role, (old, new) in pairs.items() if not _is_same(old, new)}

    def unused(self, methods: "Sequence[DecodingMethod]") -> list[str]:
        """One line for each model that was named and that none of the methods runs."""
        drafting = [method for method in methods if method.num_speculative_tokens]
        drafters = [method.drafter for method in drafting]
        with_heads = any(isinstance(drafter, ShapedHeadDrafter) for drafter in drafters)
        runs = {
            "draft": any(method.work().draft.is_model for method in methods),
            "companion": any(method.uses_companion for method in methods),
            "drafter": self.drafter == "none" or any(drafter.name == self.drafter for drafter in drafters),
            "head": with_heads,
        }
        return [
            f"{name} has no effect: no method here runs it"
            for name, used in runs.items()
            if getattr(self, name) is not None and not used
        ]


AS_THE_TRACE_SAYS = ModelChoice()


def named_model(model: str | Path) -> dict[str, Any]:
    """A model as metadata has it; LatencyError for an unknown preset or a bad config."""
    if str(model).strip() == "":
        raise InputError("a model's name is empty; give a preset of svsim models, or a config.json")
    geometry = find_model(str(model))  # refuses what it cannot read, here and not later
    return {"name": geometry.name, **(_config(model) if Path(model).exists() else {})}


def _config(path: str | Path) -> dict[str, Any]:
    """What the files of a model say, as metadata has it."""
    config, _ = config_of(Path(path))
    return {"geometry": dict(config)}


def recorded_drafter(models: Models) -> Drafter | None:
    """What a trace's metadata says that drafts; None for a model of its own, or where nothing is said."""
    entry = models.get("draft")
    name = entry.get("drafter") if isinstance(entry, Mapping) else None
    if name is None or not isinstance(entry, Mapping):
        return None
    drafter, config = drafter_named(str(name)), entry.get("geometry")
    if isinstance(drafter, ShapedHeadDrafter) and isinstance(config, Mapping):
        where = str(entry.get("name", name))
        return ShapedHeadDrafter(drafter.kind, head_from_config(config, drafter.kind, where))
    return drafter


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
