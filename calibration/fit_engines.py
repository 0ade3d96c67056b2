"""Fit engine profiles to published measurements of speculation, and judge them on families left out.

    python calibration/fit_engines.py [--panels FOLDER] [--write]

FOLDER holds the panels (``INDEX.csv`` and one CSV each; default: ``panels`` in ``SVSIM_SHARED_DATA``). It
prints the constants and errors; with --write it also writes ``svsim/latency/engines/profiles.json`` and
``docs/engine_prices.md``. Minutes on one core.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_errors import (
    Summary,
    is_roofline_mixture,
    price_error,
    sigma,
    speedup_error,
    step_error,
    target_only_error,
)
from engine_fit import NAMES, PARENT, Constants, Judged, cross_validate, fit
from engine_page import page
from engine_panels import read_cells
from engine_readings import Reading, readings
from engine_terms import terms_of

ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "svsim" / "latency" / "engines" / "profiles.json"
PAGE = ROOT / "docs" / "engine_prices.md"
ABOUT = json.loads((Path(__file__).parent / "engine_profiles.json").read_text())
# Single readings belong to the engines that they were taken on, and to those that follow.
READ_ON = {
    "async_hidden_s": ("vllm-0.20", "vllm-0.20-mrv2", "vllm-0.20-sync"),
    "retrieval_host_s": tuple(ABOUT),
    "fp8_kv_draft_s": ("vllm-0.20", "vllm-0.20-mrv2", "vllm-0.20-sync"),
    "eager_layer_s": tuple(name for name in ABOUT if name.startswith("vllm")),
}
# Overlap hides so much of a speculative step of SGLang (12.11 ms against 11.01, sglang PR 11398).
SGLANG_OVERLAP_S = 1.1e-3


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a run found."""

    constants: Constants
    left_out: Mapping[str, Constants]
    judged: Sequence[Judged]
    single: Mapping[str, Reading]

    @property
    def clean(self) -> list[Judged]:
        """The cells that judge."""
        return [one for one in self.judged if not one.cell.unusable]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    shared = os.environ.get("SVSIM_SHARED_DATA")
    parser.add_argument("--panels", type=Path, default=Path(shared) / "panels" if shared else None)
    parser.add_argument("--write", action="store_true", help="write the profiles and docs/engine_prices.md")
    options = parser.parse_args()
    if options.panels is None or not (options.panels / "INDEX.csv").is_file():
        parser.error("no panels; give --panels FOLDER or set SVSIM_SHARED_DATA")
    found = run(options.panels)
    entries = [profile(name, found) for name in ABOUT]
    text = page(entries, found.clean, found.judged, found.single)
    if options.write:
        command = "python calibration/fit_engines.py --write"
        document = {"command": command, "profiles": entries}
        PROFILES.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        PAGE.write_text(text, "utf-8")
    print(text.split("\n## Every panel")[0])


def run(folder: Path) -> Outcome:
    """Price every cell, fit, leave every family out once."""
    priced = [(cell, terms_of(cell)) for cell in read_cells(folder)]
    constants = fit([one for one in priced if not one[0].unusable])
    left_out, judged = cross_validate(priced)
    return Outcome(constants, left_out, judged, readings(folder, judged))


def profile(name: str, found: Outcome) -> dict[str, Any]:
    """The JSON of one profile."""
    about = ABOUT[name]
    own = [one for one in found.clean if one.cell.setting.profile == name]
    constants = {key: _constant(name, key, found) for key in NAMES}
    constants |= {key: _reading(found.single[key]) for key in found.single if name in READ_ON[key]}
    mixture = sigma([one for one in found.clean if is_roofline_mixture(one)])
    is_judged = any(speedup_error(one) is not None for one in own)
    # whom no cell judges has the largest error of those that some cell does
    error = max(price_error(found.clean, one) for one in ([name] if is_judged else ABOUT))
    errors = {
        "speedup": _errors(own, speedup_error),
        "speculative_step": _errors(own, step_error),
        "target_only_step": _errors(own, target_only_error),
    }
    return {
        "name": name,
        **about,
        "constants": {key: value for key, value in constants.items() if value["value"] > 0},
        "errors": {key: value for key, value in errors.items() if value},
        "price_error": _rounded(error),
        "largest_batch_size": _largest_batch(name, found.clean),
        "roofline_mixture_error": _rounded(max(mixture or error, error)),
    }


def _constant(name: str, key: str, found: Outcome) -> dict[str, Any]:
    """Value, spread over the fits with a family left out, and the panels of its engine."""

    def of(constants: Constants) -> float:
        value = constants.of(name)[key]
        if name == "vllm-0.20-sync" and key.endswith("_host_s") and "async_hidden_s" in found.single:
            value += found.single["async_hidden_s"].median_s
        if name == "sglang-0.5" and key == "speculative_host_s":
            value = max(value - SGLANG_OVERLAP_S, 0.0)
        return value

    value, others = of(found.constants), [of(constants) for constants in found.left_out.values()]
    is_shared = key in NAMES[3:]
    line = {name, PARENT.get(name, name)}
    pinned = (one.cell for one in found.clean if is_shared or one.cell.setting.profile in line)
    panels = list(dict.fromkeys(cell.setting.panel for cell in pinned if cell.speculation or "target" in key))
    return {
        "value": _rounded(value),
        "low": _rounded(min([value, *others])),
        "high": _rounded(max([value, *others])),
        "panels": [] if is_shared else panels,
    }


def _largest_batch(name: str, clean: Sequence[Judged]) -> int:
    """Of the speculative cells that judge a profile or the one it deviates from; 1 without any."""
    line = {name, PARENT.get(name, name)}
    sizes = [one.cell.setting.batch_size for one in clean if one.is_on and one.cell.setting.profile in line]
    return max(sizes, default=1)


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "value": _rounded(reading.median_s),
        "low": _rounded(min(reading.values_s)),
        "high": _rounded(max(reading.values_s)),
        "panels": list(reading.panels),
    }


def _errors(own: Sequence[Judged], error: Any) -> dict[str, Any] | None:
    found = Summary.of(own, error)
    if found is None:
        return None
    shares = {key: _rounded(getattr(found, key)) for key in ("mean", "p80", "p90")}
    return {"num_cells": found.num_cells, "num_panels": found.num_panels, **shares}


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
