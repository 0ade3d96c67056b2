"""Engine profiles by name: those that are shipped, or one from a file."""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from svsim.errors import LatencyError, printable
from svsim.latency.engines.profile import EngineProfile
from svsim.latency.engines.profile_json import EXPECTED, profile_from_json
from svsim.reading import json_object

NO_ENGINE = "none"
# What modelled passes are priced with unless told otherwise: the newest engine that panels pin well.
DEFAULT_ENGINE = "vllm-0.20"
_SPELLED = re.compile(r"([a-z]+)(?:-(\d{1,3}(?:\.\d{1,3}){0,2}))?(?:-([a-z]+\d*))?")
_Version = tuple[int, ...]


@cache
def engine_profiles() -> Mapping[str, EngineProfile]:
    """The shipped profiles by name, in file order."""
    text = resources.files("svsim.latency.engines").joinpath("profiles.json").read_text("utf-8")
    profiles = [profile_from_json(entry, "profiles.json") for entry in json.loads(text)["profiles"]]
    return {profile.name: profile for profile in profiles}


def engine_profile(name: str) -> EngineProfile | None:
    """The profile of that name, of an engine's version (``vllm-0.24``), or in a ``.json`` file.

    None for ``none``: bare passes, and the latency source's own overhead. LatencyError lists the known names.
    """
    if name == NO_ENGINE:
        return None
    if name.endswith(".json"):
        return profile_from_json(json_object(name, EXPECTED, LatencyError), printable(Path(name).name))
    found = engine_profiles().get(name) or _of_version(name)
    if found is None:
        known = ", ".join([*engine_profiles(), NO_ENGINE])
        raise LatencyError(
            f"no engine profile {printable(name, 60)}; known: {known}, an engine's version such as "
            "vllm-0.24, or a profile's .json file"
        )
    return found


def _of_version(name: str) -> EngineProfile | None:
    """``vllm-0.24``: the profile whose versions hold 0.24; ``vllm``: its newest."""
    spelled = _SPELLED.fullmatch(name)
    if not spelled:
        return None
    engine, version, variant = spelled.groups()
    peers = [
        profile
        for key, profile in engine_profiles().items()
        if key.split("-")[0] == engine and profile.variant == (variant or "")
    ]
    if version is None:
        return peers[-1] if peers else None
    return next((profile for profile in peers if _holds(profile, _numbers(version))), None)


def _holds(profile: EngineProfile, version: _Version) -> bool:
    first, last = (None if end is None else _numbers(end) for end in profile.versions)
    return (first is None or first <= version) and (last is None or version[: len(last)] <= last)


def _numbers(version: str) -> _Version:
    return tuple(int(part) for part in version.split("."))
