"""Presets of the rivals: the sources' defaults, options that reach the rule, odd ones refused in a line."""

import pytest

from svsim.decoding.beliefs import BinnedBelief, EntropyBound, SignalBelief
from svsim.decoding.drafters import HeadDrafter, drafter_named
from svsim.decoding.presets import parse_method
from svsim.decoding.rivals import RIVALS
from svsim.errors import MethodError

# what the sources state, beside what the command line takes when nothing is said
SOURCES = {
    "smartspec": {"every": 20, "smoothing": 0.15, "start": 0.7, "caution": 1.1},  # its fork of vLLM
    "svip": {"h": 0.3, "c": 0.15},  # its repository
    "adaedl": {"gamma": 0.2, "aim": 0.9, "pace": 0.01, "forget": 0.5, "smooth": 0.9},  # and 2309.08168
    "disco": {"threshold": 0.4},  # transformers, assistant_confidence_threshold
    "tetris": {"extra": 1},
    "eagle": {"k": 3},  # its batch ladder on SGLang
    "dspark": {"search": "causal"},
    "vllm-ladder": {"ladder": "64-3/128-1"},  # vLLM's documentation
}


@pytest.mark.parametrize("name", SOURCES)
def test_defaults_are_the_sources(name):
    defaults = {key: option.default for key, option in RIVALS[name].options.items()}
    assert SOURCES[name].items() <= defaults.items()


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("smartspec:k=4,every=7,smoothing=0.5,start=0.1,caution=2,retry=9", (7.0, 0.5, 0.1, 2.0, 9.0)),
        ("adaedl:start=0.1,aim=0.2,pace=0.3,forget=0.4,smooth=0.5", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("tetris:k=5,extra=2", (2.0,)),
        ("vllm-adaptive:lag=2", (0.0, 0.0, 2.0)),
        ("vllm-ladder:ladder=8-5/16-2/32-0", (8.0, 5.0, 16.0, 2.0, 32.0, 0.0)),
    ],
)
def test_options_reach_the_rule_in_its_order(text, options):
    assert parse_method(text, 8).selection.options == options


def test_what_a_method_reads_and_runs():
    assert isinstance(parse_method("adaedl:gamma=0.3").belief, EntropyBound)
    assert parse_method("adaedl:gamma=0.3").belief.factor == 0.3
    assert isinstance(parse_method("dspark:signal=draft_confidence").belief, SignalBelief)
    assert isinstance(parse_method("vllm-adaptive").belief, BinnedBelief)
    assert parse_method("vllm-adaptive").signals == ("draft_entropy",)
    assert parse_method("eagle:head_share=0.03").drafter == HeadDrafter(0.03)
    assert parse_method("vllm-ladder:ladder=1-2/4-9/9-1").num_speculative_tokens == 9
    for name in ("dspark", "vllm-adaptive"):
        assert parse_method(f"{name}:signal=similarity").uses_companion  # similarity is its word
        assert not parse_method(name).uses_companion


def test_decided_before_the_draft_or_after():
    stopping = {name for name in RIVALS if parse_method(name, 7).stops_draft}
    assert stopping == {"smartspec", "svip", "adaedl", "disco", "dyspec", "vllm-ladder"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tetris:k=3,extra=3", ("extra=3 leaves nothing of k=3", "smaller extra")),
        ("tetris:k=1", ("extra=1 leaves nothing of k=1",)),
        ("tetris:extra=-1", ("extra=-1 is not a whole number from 0 to 255",)),
        ("svip:h=11", ("h=11 is not a number from 0 to 10",)),
        ("svip:h=-0.1", ("h=-0.1 is not a number from 0 to 10",)),
        ("svip:c=nan", ("c=nan is not a number",)),
        ("svip:c=inf", ("c=inf is not a number",)),
        ("svip:c=", ("c= is not a number",)),
        ("svip:c=0,15", ("unknown option '15'", "k=..., h=..., c=...")),
        ("svip:threshold=0.3", ("unknown option 'threshold=0.3'", "k=..., h=..., c=...")),
        ("disco:threshold=1.5", ("threshold=1.5 is not a number from 0 to 1",)),
        ("dyspec:threshold=1e99", ("not a number from 0 to 1",)),
        ("adaedl:forget=2", ("forget=2 is not a number from 0 to 1",)),
        ("smartspec:start=1", ("start=1 is not a number from 0 to 0.999",)),
        ("smartspec:caution=0.9", ("caution=0.9 is not a number from 1 to 10",)),
        ("smartspec:every=0", ("every=0 is not a whole number from 1",)),
        ("smartspec:every=2.5", ("every=2.5 is not a whole number",)),
        ("eagle:head_share=2", ("head_share=2 is not a number from 0 to 1",)),
        ("eagle:k=0", ("k=0 is not a whole number from 1 to 255",)),
        ("dspark:signal=companion_accept", ("signal=companion_accept", "draft_entropy, draft_confidence")),
        ("dspark:search=local", ("search=local is unknown", "causal, global")),
        ("vllm-adaptive:lag=3", ("lag=3 is not a whole number from 1 to 2",)),
        ("vllm-ladder:ladder=64:3", ("ladder=64:3 is not a ladder", "64-3/128-1")),
        ("vllm-ladder:ladder=64-3/", ("is not a ladder",)),
        ("vllm-ladder:ladder=", ("is not a ladder",)),
        ("vllm-ladder:ladder=128-1/64-3", ("must rise in batch size",)),
        ("vllm-ladder:ladder=64-3/64-1", ("must rise in batch size",)),
        ("vllm-ladder:ladder=64-3/64-5", ("must rise in batch size",)),
        ("vllm-ladder:ladder=64-0", ("draft 1 to 255 tokens somewhere",)),
        ("vllm-ladder:ladder=64-300", ("draft 1 to 255 tokens somewhere",)),
        ("vllm-ladder:k=3", ("unknown option 'k=3'", "ladder=...")),
        ("staged:threshold=0.3", ("unknown option 'threshold=0.3'", "k=...")),
        ("eagle4", ("did you mean eagle",)),
        ("smart-spec", ("did you mean smartspec?",)),
        ("vllm_adaptive", ("did you mean vllm-adaptive?",)),
        ("dynspec", ("did you mean dyspec?",)),
    ],
)
def test_bad_options_are_one_line_with_the_remedy(text, words):
    with pytest.raises(MethodError) as caught:
        parse_method(text, 7)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    for word in words:
        assert word in message


@pytest.mark.parametrize("text", ["sd:k=4", "svip:k=4", "smartspec:k=4", "sv:k=4", "oracle:k=4,draft=exact"])
def test_every_chain_method_drafts_with_any_drafter(text):
    method = parse_method(text)
    for name in ("model", "eagle", "eagle3", "mtp", "dflash", "peagle", "ngram"):
        drafter = drafter_named(name)
        drafted = method.with_drafter(drafter)
        assert drafted.drafter == drafter and drafted.label == method.label
        assert drafted.work().draft == drafter.work(None)
    with pytest.raises(MethodError, match=r"drafts 4 tokens, but the drafter is none") as caught:
        method.with_drafter(drafter_named("none"))
    assert "\n" not in str(caught.value)


def test_a_method_about_heads_keeps_its_own_beside_other_drafters():
    eagle, given = parse_method("eagle"), parse_method("eagle:head_share=0.03")
    assert eagle.label == "eagle:k=3" and given.label == "eagle:k=3,head_share=0.03"
    assert eagle.with_drafter(drafter_named("ngram")).drafter == eagle.drafter
    assert eagle.with_drafter(drafter_named("eagle3")).drafter == drafter_named("eagle3")
    assert given.with_drafter(drafter_named("eagle3")).drafter == HeadDrafter(0.03)
    assert parse_method("td").with_drafter(drafter_named("none")) == parse_method("td")


@pytest.mark.parametrize(
    ("name", "head", "words"),
    [
        (
            "eagle2",
            None,
            ("unknown drafter 'eagle2'", "model, eagle, eagle3, mtp, dflash, peagle, ngram"),
        ),
        ("ngram", "config.json", ("drafter ngram has no head", "leave `head` out")),
        ("model", "config.json", ("drafter model has no head",)),
    ],
)
def test_unknown_drafters_are_one_line_with_the_remedy(name, head, words):
    with pytest.raises(MethodError) as caught:
        drafter_named(name, head)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
