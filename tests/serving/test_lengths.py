"""Laws of prompt and output lengths."""

import math

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.serving.lengths import LengthLaw


def test_fixed() -> None:
    prompt, output = LengthLaw.parse("fixed:1024/128").draw(5, np.random.default_rng(0))
    assert set(prompt) == {1024} and set(output) == {128}


def test_uniform_has_its_ends_and_its_mean() -> None:
    prompt, output = LengthLaw.parse("uniform:10/3/0.5").draw(20_000, np.random.default_rng(0))
    assert set(prompt) == set(range(5, 16)) and set(output) == set(range(1, 6))
    shares = np.bincount(prompt)[5:] / len(prompt)
    assert abs(shares - 1 / 11).max() <= 4 * math.sqrt(1 / 11 / len(prompt))


def test_lognormal_has_its_mean_and_spread() -> None:
    prompt, output = LengthLaw.parse("lognormal:1000/200/1/0.5").draw(40_000, np.random.default_rng(0))
    for values, mean, cv in ((prompt, 1000, 1.0), (output, 200, 0.5)):
        assert abs(values.mean() - mean) <= 4 * cv * mean / math.sqrt(len(values)) + 0.5
        parts = [part.std() / part.mean() for part in np.array_split(values, 20)]
        assert abs(values.std() / values.mean() - cv) <= 4 * np.std(parts, ddof=1) / math.sqrt(20) + 0.01


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    law = LengthLaw.parse("lognormal:1000/200/1")
    short, long = (law.draw(num, np.random.default_rng(3)) for num in (10, 1000))
    np.testing.assert_array_equal(short[0], long[0][:10])
    np.testing.assert_array_equal(short[1], long[1][:10])


@pytest.mark.parametrize(
    "text", ["trace", "fixed:1024/128", "uniform:1024/128/0.5", "lognormal:1000/200/1/0.5"]
)
def test_text_is_canonical(text: str) -> None:
    assert LengthLaw.parse(text).text == text


WRONG = """
fixed fixed:1024 fixed:0/1 fixed:1/0 fixed:1.5/2 fixed:-1/2 fixed:1e9/2 uniform:1/2 uniform:1/2/1.5
uniform:1/2/nan lognormal:1/2/99 zipf:1/2 trace:1 fixed:1/2/3 fixed:99999999999/1
"""


@pytest.mark.parametrize("text", ["", *WRONG.split()])
def test_wrong_laws(text: str) -> None:
    with pytest.raises(InputError, match="lengths") as caught:
        LengthLaw.parse(text)
    assert "\n" not in str(caught.value)
