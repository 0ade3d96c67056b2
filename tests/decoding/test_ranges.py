"""Ranges in method texts: what they stand for, and what is refused."""

import pytest

from svsim.decoding.preset import Option
from svsim.decoding.presets import PRESETS, parse_method
from svsim.decoding.ranges import parse_methods, without_ranges
from svsim.errors import MethodError


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("sd:k=1-5", ["sd:k=1", "sd:k=2", "sd:k=3", "sd:k=4", "sd:k=5"]),
        ("sd:k=4-4", ["sd:k=4"]),
        ("sv:k=6-7,stop=first-drop", ["sv:k=6,stop=first-drop", "sv:k=7,stop=first-drop"]),
        ("sv:min_verify=0-1,k=2-3", [
            "sv:k=2", "sv:k=3", "sv:k=2,min_verify=1", "sv:k=3,min_verify=1"]),
        ("td", ["td"]),
        ("oracle:draft=exact,k=1-2", ["oracle:k=1,draft=exact", "oracle:k=2,draft=exact"]),
    ],
)  # fmt: skip
def test_a_range_stands_for_every_value(text, labels):
    assert [method.label for method in parse_methods([text], 9)] == labels


@pytest.mark.parametrize("name", PRESETS)
def test_every_whole_number_option_takes_a_range(name):
    """And nothing else does: a text with a hyphen stays as it is."""
    for key, option in PRESETS[name].options.items():
        low, high = max(1, int(option.at_least)), max(1, int(option.at_least)) + 1
        expected = [f"{name}:{key}={n}" for n in (low, high)]
        text = f"{name}:{key}={low}-{high}"
        assert without_ranges(text) == (expected if option.is_integer else [text])


def test_a_text_without_ranges_is_what_it_was():
    for text in ("sd:k=3", "sv", "nothing:k=1-3", "sv:stop=first-drop", "sd:k=1-", "sd:k=-3", "sd:k=1-2-3"):
        assert without_ranges(text) == [text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sd:k=5-1", "k=5-1 runs backwards; ask for k=1-5"),
        ("sd:k=0-3", "k=0 is not a whole number from 1"),
        ("sd:k=1-999999999", "k=999999999 is not a whole number from 1"),
        ("sv:k=1-200,min_verify=0-200", "40,200 methods; ask for at most 1,000"),
        ("sd:k=1-", "k=1- is not a whole number"),
        ("sd:kk=1-3", "unknown option 'kk=1-3'"),
        ("sv:overlap=half,draft_slowdown=1-3", "draft_slowdown=1-3 is not a number"),
    ],
)
def test_a_wrong_range_says_what_is_wrong(text, message):
    with pytest.raises(MethodError, match=message):
        parse_methods([text])


def test_kinds_of_options():
    assert Option(3).is_integer and Option("K of the trace").is_integer
    assert not any(o.is_integer for o in (Option(1.5), Option("a", ("a", "b")), Option("x", pattern="x+")))
    assert parse_method("sd").num_speculative_tokens == 5
