"""Laws of arrival: their means, their spread, shared numbers at all rates, and errors of one line."""

import math

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.random_streams import RandomStreams
from svsim.serving.arrivals import Arrivals, ArrivalStream

OPEN = [
    "poisson:rate=4",
    "gamma:rate=4,burstiness=0.5",
    "constant:rate=4",
    "onoff:rate=4,on=3,off=6",
    "diurnal:rate=4,amplitude=0.8,period=50",
    "ramp:from=1,to=4,over=20",
    "ramp:from=8,to=4,over=20,shape=exponential",
]


def times(text: str, num: int, seed: int = 0, duration_s: float = 100.0, block: int = 1000) -> np.ndarray:
    stream = ArrivalStream(Arrivals.parse(text), RandomStreams(seed), duration_s)
    return np.concatenate([stream.next(min(block, num - i)) for i in range(0, num, block)])


@pytest.mark.parametrize("text", OPEN)
def test_times_never_go_back_and_do_not_depend_on_blocks(text: str) -> None:
    found = times(text, 4000)
    assert found[0] >= 0 and (np.diff(found) >= 0).all()
    np.testing.assert_allclose(times(text, 4000, block=7), found, rtol=1e-9)


@pytest.mark.parametrize("text", [t for t in OPEN if "ramp" not in t])
def test_mean_rate(text: str) -> None:
    # spread of the mean over independent streams is the yardstick
    rates = np.array([4000 / times(text, 4000, seed)[-1] for seed in range(16)])
    error = rates.std(ddof=1) / math.sqrt(len(rates))
    assert abs(rates.mean() - 4.0) <= 4 * error + 4.0 * 2 / 4000


@pytest.mark.parametrize(("text", "cv"), [("poisson:rate=4", 1.0), ("gamma:rate=4,burstiness=0.25", 2.0)])
def test_spread_of_the_gaps(text: str, cv: float) -> None:
    gaps = np.diff(times(text, 40_000))
    found = gaps.std() / gaps.mean()
    halves = [part.std() / part.mean() for part in np.array_split(gaps, 20)]
    assert abs(found - cv) <= 4 * np.std(halves, ddof=1) / math.sqrt(20)


def test_endless_burstiness_is_constant() -> None:
    np.testing.assert_array_equal(times("gamma:rate=5,burstiness=inf", 50), times("constant:rate=5", 50))


def test_another_rate_meets_the_same_numbers() -> None:
    slow, fast = times("gamma:rate=1,burstiness=0.5", 100), times("gamma:rate=8,burstiness=0.5", 100)
    np.testing.assert_allclose(slow, 8 * fast, rtol=1e-12)


@pytest.mark.parametrize("shape", ["linear", "exponential"])
def test_ramp_counts_what_its_rate_says(shape: str) -> None:
    first, last, over = 2.0, 10.0, 100.0
    found = times(f"ramp:from={first},to={last},over={over},shape={shape}", 3000)
    growth = math.log(last / first) / over
    for t in (20.0, 60.0, 100.0, 140.0):
        inside = min(t, over)
        expected = (
            first * inside + (last - first) * inside**2 / (2 * over)
            if shape == "linear"
            else first * math.expm1(growth * inside) / growth
        ) + last * max(t - over, 0.0)
        counted = np.searchsorted(found, t)
        assert abs(counted - expected) <= 4 * math.sqrt(expected)


def test_diurnal_inverts_its_own_rate() -> None:
    rate, amplitude, period = 4.0, 0.9, 30.0
    found = times(f"diurnal:rate={rate},amplitude={amplitude},period={period}", 500)
    swing = amplitude * period / (2 * math.pi)
    unit = rate * (found + swing * (1 - np.cos(2 * math.pi * found / period)))
    np.testing.assert_allclose(unit, times("poisson:rate=1", 500), rtol=1e-6)


def test_on_off_is_silent_while_off() -> None:
    gaps = np.diff(times("onoff:rate=1,on=1,off=99", 4000))
    assert (gaps > 10).sum() > 5 and np.median(gaps) < 0.01


def test_normalized_arrivals_end_at_the_duration() -> None:
    found = times("poisson:rate=4,normalize=yes", 500, duration_s=100.0)
    assert found[399] == pytest.approx(100.0) and found[400] > 100.0
    np.testing.assert_allclose(times("poisson:rate=4,normalize=yes", 500, block=13), found, rtol=1e-9)


def test_text_is_canonical_and_scales() -> None:
    assert Arrivals.parse("gamma:burstiness=1,rate=4.0").text == "gamma:rate=4"
    assert Arrivals.parse("ramp:from=1,to=4,over=20").at_rate(8.0).text == "ramp:from=2,to=8,over=20"
    assert Arrivals.parse("closed:users=8,think=2").rate is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poisson", "rate is missing; expected poisson:rate=R"),
        ("poisson:rate=0", "rate=0 is no number above 0"),
        ("poisson:rate=-1", "rate=-1 is no number"),
        ("poisson:rate=nan", "rate=nan is no number"),
        ("poisson:rate=inf", "no number above 0 to 1e[+]06"),
        ("poisson:rate=", "rate= is no number"),
        ("poisson:rate=.", "rate=[.] is no number"),
        ("poisson:rate=1,rate=2", "rate=2 is no option"),
        ("poisson:speed=1", "speed=1 is no option"),
        ("weibull:rate=1", "weibull is unknown; known: poisson:rate=R"),
        ("diurnal:rate=1,amplitude=1.5", "from 0 to 1"),
        ("closed:users=2.5", "no whole number"),
        ("closed:users=0", "no number from 1"),
        ("gamma:rate=1,normalize=maybe", "choose one of no, yes"),
        ("poisson:rate=1\x1b[31m", "rate=1[?]"),
    ],
)
def test_wrong_laws(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Arrivals.parse(text)
    assert "\n" not in str(caught.value)
