"""Solve the latent parameters for the observables asked for; deterministic.

The target half first (``synthetic_target_fit``): its trajectories do not depend on the signals. Then,
with the trajectories fixed, each signal observable is monotone in one link and is bracketed.
"""

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
from scipy.optimize import brentq

from svsim.speculation_math import information_ceiling_bits
from svsim.synthetic.latent import LatentParameters, companion_accept, draft_entropy, similarity
from svsim.synthetic.pilot import Drawn, Pilot
from svsim.synthetic.settings import TOLERANCES, OutOfReachError, SyntheticSettings
from svsim.synthetic.target_fit import TargetFit, unseen_share
from svsim.trace import measurement as observed

MAX_LINK = 0.9995
LEAST_UNSEEN_SHARE = 0.02


def calibrate(settings: SyntheticSettings, seed: int) -> LatentParameters:
    """Latent parameters under which ``settings`` are met; InputError names the limit where none are.

    Rounded to six decimals, so that the last digit of an exponential on some machine changes nothing.
    """
    pilot = Pilot.of(settings, seed)
    unseen = unseen_share(settings, pilot)
    while True:
        parameters, drawn = TargetFit(settings, pilot, unseen).solve()
        most = overlap_correlation(drawn, parameters, MAX_LINK)
        if most >= settings.overlap_correlation or unseen <= LEAST_UNSEEN_SHARE:
            break
        unseen = max(0.85 * unseen, LEAST_UNSEEN_SHARE)  # leave S more to see
    found = asdict(_fit_signals(settings, pilot, parameters, drawn))
    return LatentParameters(**{name: np.round(value, 6) for name, value in found.items()})


def overlap_correlation(drawn: Drawn, parameters: LatentParameters, companion_link: float) -> float:
    """Correlation of S and O at depth 1 under this companion link."""
    s = similarity(drawn.latents, replace(parameters, companion_link=companion_link))
    return observed.correlation(s, drawn.overlap) or 0.0


def _fit_signals(
    settings: SyntheticSettings, pilot: Pilot, parameters: LatentParameters, drawn: Drawn
) -> LatentParameters:
    """Companion link, token link and entropy scale, on the depth-1 column of fixed trajectories."""
    a = drawn.accept_prob[:, 0].astype(float)
    link = _bracketed(
        lambda link: overlap_correlation(drawn, parameters, link),
        settings.overlap_correlation,
        "overlap_correlation",
        ("a companion that sees all but the wrong prefix has", "unrelated companions have"),
    )
    parameters = replace(parameters, companion_link=link)
    s = similarity(drawn.latents, parameters)

    def gain_bits(link: float) -> float:
        companion = companion_accept(drawn.latents, s, replace(parameters, token_link=link))
        if settings.information_measure == "paper":
            return observed.paper_gain_bits(a, s, companion)
        return observed.held_out_gain_bits(a, s, companion, pilot.first_position)

    ceiling, asked = information_ceiling_bits(a), settings.information_gain_bits
    if settings.information_measure == "acceptance" and asked > ceiling:
        raise OutOfReachError(
            f"synthetic trace: information_gain_bits {asked:g} exceeds the ceiling h(mean a) - E h(a) = "
            f"{ceiling:.3f} at this acceptance; lower it or raise overlap_spread",
            "information_gain_bits",
            ceiling,
        )
    at = f"at overlap_correlation {settings.overlap_correlation:g}"
    limits = f"S and A can tell {at} (ceiling {ceiling:.3f})", f"S alone tells {at}"
    parameters = replace(parameters, token_link=_bracketed(gain_bits, asked, "information_gain_bits", limits))
    mean_entropy = float(draft_entropy(drawn.latents, parameters).mean())
    return replace(parameters, entropy_scale_nats=settings.draft_entropy_nats / mean_entropy)


def _bracketed(
    observable: Callable[[float], float], asked: float, name: str, limits: tuple[str, str]
) -> float:
    """The link in 0..MAX_LINK at which the increasing ``observable`` is ``asked``; limits: most, least."""
    low, high = observable(0.0), observable(MAX_LINK)
    slack = TOLERANCES[name] / 2
    if asked > high + slack:
        message = f"synthetic trace: {name} {asked:g} exceeds {high:.3f}, the most that {limits[0]}; lower it"
        raise OutOfReachError(message, name, high)
    if asked < low - slack:
        message = f"synthetic trace: {name} {asked:g} is below {low:.3f}, which {limits[1]}; raise it"
        raise OutOfReachError(message, name, low)
    if not low < asked < high:
        return 0.0 if asked <= low else MAX_LINK
    return float(brentq(lambda link: observable(link) - asked, 0.0, MAX_LINK, xtol=1e-4))
