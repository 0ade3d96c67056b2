"""What advise concludes: against measured decisions, against replays of its own assumptions, at its edges."""

import math

import pytest

import svsim
from svsim.advice.decision import BEYOND_RANGE
from svsim.advice.evidence import longest_searched, of_rates
from svsim.advice.search import Server
from svsim.errors import InputError
from svsim.metrics.verdict import Answer
from svsim.model_choice import ModelChoice
from svsim.synthetic.reported import AcceptanceProfile, profile_of_mean
from svsim.synthetic.settings import LengthLaw

RATES = (0.72, 0.51, 0.36)
# github.com/manojarulmurugan/SpecDecoding-Study-vLLM-SGLang (d96e4fb): vLLM 0.24 on an A100, Llama-3.1-8B
# with EAGLE-3, k = 5. GSM8K: prompts of about 950 tokens, 256 out, 2.89 tokens a step; 0.97x at 64 users,
# 2.14x at 1.
LOSS_LENGTH, LOSS_K = 2.89, 5


@pytest.fixture(scope="module")
def a100():
    return svsim.advise(
        acceptance_length=LOSS_LENGTH, k=LOSS_K, prompt_tokens=950, output_tokens=256, target="llama-3.1-8b",
        drafter="eagle3", hardware="a100_sxm", engine="vllm-0.24", concurrency=[1, 64],
    )  # fmt: skip


def test_a_measured_loss_is_not_advised(a100):
    at_64 = a100.advice[-1]
    assert at_64.batch_size == 64
    assert at_64.verdict is not Answer.SPECULATE
    recorded = next(r for r in a100.rows if r.batch_size == 64 and r.params.get("k") == 5)
    assert recorded.speedup_vs_td == pytest.approx(0.97, rel=0.3)
    assert "svsim validate" in at_64.measure_with


def test_a_measured_loss_is_not_advised_whatever_the_shape_of_its_mean(a100):
    rates = profile_of_mean(LOSS_LENGTH, LOSS_K, "gsm8k", "decay:0.9").rates
    (one,) = svsim.advise(
        accept_by_position=rates, prompt_tokens=950, output_tokens=256, target="llama-3.1-8b",
        drafter="eagle3", hardware="a100_sxm", engine="vllm-0.24", concurrency=64,
    ).advice  # fmt: skip
    assert one.verdict is not Answer.SPECULATE


def test_a_measured_gain_of_two_is_advised(a100):
    at_1 = a100.advice[0]
    assert at_1.verdict is Answer.SPECULATE
    assert at_1.low < 2.14 < at_1.high


def test_a_server_holds_prefills(a100):
    assert a100.config["prefill"] == "include"
    td = next(r for r in a100.rows if r.method == "td")
    assert td.prefill_time_s > 0


def test_the_document_has_the_words_that_are_promised(a100):
    document = a100.to_dict()
    assert {"advice", "rows", "config"} <= document.keys()
    promised = {"batch_size", "method", "params", "speedup_vs_td", "low", "high", "verdict"}
    for one in document["advice"]:
        assert promised <= one.keys()
        assert one["low"] <= one["speedup_vs_td"] <= one["high"]
        assert one["verdict"] in ("speculate", "do not speculate", "measure")


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """Linear passes whose price is told by hand: 1 ms fixed, 5 us a token; drafts of 0.1 ms."""
    file = tmp_path_factory.mktemp("latency") / "linear.json"
    file.write_text(
        '{"kind": "linear", "target": {"fixed_s": 1e-3, "per_new_token_s": 5e-6, "per_kv_token_s": 0},'
        '"draft": {"fixed_s": 1e-4, "per_new_token_s": 0, "per_kv_token_s": 0}, "overhead_per_step_s": 0,'
        '"draft_is_one_pass": false}'
    )
    return str(file)


def advised(linear, rates=RATES, **more):
    asked = {"prompt_tokens": 100, "output_tokens": 200, "drafter": "eagle3", "latency": linear, **more}
    return svsim.advise(accept_by_position=rates, prefill="exclude", **asked)


def test_speedup_and_break_even_are_those_of_the_closed_form(linear):
    """sd at batch 1: (1 + r_1 + ... + r_k)/(1 ms + 5 us (k + 1) + 0.1 ms k) tokens per second."""
    profile = AcceptanceProfile(RATES)

    def speedup(k):
        step = 1e-3 + 5e-6 * (k + 1) + 1e-4 * k
        return profile.at(k).mean_acceptance_length / step * (1e-3 + 5e-6)

    (one,) = advised(linear, concurrency=1).advice
    assert one.speedup_vs_td == pytest.approx(speedup(one.params["k"]), rel=0.02)
    # at the break-even length a step gains as many tokens as it costs target-only steps
    k = one.params["k"]
    assert one.break_even_acceptance_length == pytest.approx(
        (1e-3 + 5e-6 * (k + 1) + 1e-4 * k) / (1e-3 + 5e-6), rel=0.02
    )


@pytest.mark.parametrize("assumption", ["low", "high"])
def test_brackets_are_what_a_replay_of_the_assumption_says(linear, assumption):
    """The ends of the range, computed from one row, are those of a trace with that acceptance."""
    k, recorded = 2, AcceptanceProfile(RATES)
    told = advised(linear, recorded.at(k, assumption).rates, concurrency=8, methods=[f"sd:k={k}"])
    (other,) = (row for row in told.rows if row.method == "sd" and row.batch_size == 8)
    (one,) = advised(linear, concurrency=8, methods=[f"sd:k={k}"]).advice
    ends = {"low": one.low, "high": one.high}
    sampled = {"low": other.speedup_vs_td_ci_low, "high": other.speedup_vs_td_ci_high}
    beyond = {"low": 1 - BEYOND_RANGE, "high": 1 + BEYOND_RANGE}
    assert ends[assumption] == pytest.approx(sampled[assumption] * beyond[assumption], rel=0.005)


def test_the_recorded_length_has_no_bracket(linear):
    (one,) = advised(linear, concurrency=8, methods=["sd:k=3"]).advice
    (other,) = advised(linear, concurrency=8, methods=["sd:k=6"]).advice
    assert not one.is_assumed and other.is_assumed
    assert math.log(other.high / other.low) > math.log(one.high / one.low)


def test_a_length_that_surely_pays_is_preferred_to_a_faster_guess(linear):
    """A mean of k = 5 leaves room for no gain at other lengths; the recorded one is certain."""
    found = advised(linear, None, acceptance_length=3.0, k=5, concurrency=8)
    (one,) = found.advice
    assert one.verdict is Answer.SPECULATE and one.low > 1
    fastest = max((r for r in found.rows if r.batch_size == 8), key=lambda r: r.speedup_vs_td)
    assert one.speedup_vs_td <= fastest.speedup_vs_td


def test_nothing_accepted_is_never_advised(linear):
    for one in advised(linear, (0.0, 0.0), concurrency=[1, 64]).advice:
        assert one.verdict is Answer.DO_NOT and one.use == "td" and one.high < 1


def test_several_drafters_are_compared(linear):
    found = advised(linear, {"eagle3": RATES, "ngram": (0.9, 0.85, 0.8)}, drafter=None, concurrency=[1])
    (one,) = found.advice
    assert one.drafter == "ngram"  # accepts more, and costs nothing here
    assert {a["drafter"] for a in found.config["acceptance"]} == {"eagle3", "ngram"}
    assert sum(row.method == "td" for row in found.rows) == 1


def test_unasked_batch_sizes_are_searched_and_asked_ones_answered(linear):
    found = advised(linear, concurrency=[3, 20])
    assert [one.batch_size for one in found.advice] == [3, 20]
    assert [one.batch_size for one in found.ladder] == [1, 2, 3, 4, 8, 16, 20]
    assert [one.batch_size for one in advised(linear).advice][-1] == 256


def test_a_batch_that_does_not_fit_is_said():
    found = svsim.advise(
        accept_by_position=RATES, prompt_tokens=4000, output_tokens=200, target="qwen3-32b", drafter="ngram",
        hardware="h100_sxm:quant=fp8", concurrency=[1, 256], methods=["sd:k=3"],
    )  # fmt: skip
    assert found.advice[0].fits_memory
    last = found.advice[-1]
    assert last.fits_memory is False and last.use == "td" and last.goodput_tok_s is None


def test_how_far_lengths_are_searched():
    assert [longest_searched(k) for k in (1, 3, 5, 10, 40)] == [3, 6, 10, 16, 40]
    assert Server(concurrency=(300,)).num_requests == 300


def test_lengths_that_nobody_gave_are_said():
    law = LengthLaw(100)
    models = ModelChoice(drafter="eagle3")
    assert not of_rates(AcceptanceProfile(RATES), (law, law), models, 8, 0).notes
    assert len(of_rates(AcceptanceProfile(RATES), (None, None), models, 8, 0).notes) == 2


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "nothing says what is accepted"),
        ({"accept_by_position": ".7/.8"}, "never rise"),
        ({"accept_by_position": "70/50"}, "divide by 100"),
        ({"accept_by_position": "x"}, "expected a number"),
        ({"accept_by_position": ".7/.5"}, "do not say what drafted"),
        ({"accept_by_position": ".7", "drafter": "eagle4"}, "unknown drafter"),
        ({"accept_by_position": ".7", "drafter": "ngram", "k": 3}, "k is the number of rates"),
        ({"accept_by_position": {"eagle3": ".7"}, "drafter": "eagle3"}, "leave `drafter` out"),
        ({"accept_by_position": ".7", "trace": "T.parquet"}, "not two of them"),
        ({"accept_by_position": ".7", "acceptance_length": 2.0}, "not two of them"),
        ({"acceptance_length": 2.0, "drafter": "ngram"}, "give `k`"),
        ({"acceptance_length": 5.0, "k": 3, "drafter": "ngram"}, "out of reach"),
        ({"trace": ["a", "b"]}, "`import_format` says"),
        ({"trace": ["no-such-file.parquet"]}, "no-such-file"),
        ({"import_format": "vllm-metrics"}, "needs files"),
        ({"import_format": "vllm-metric", "trace": "a"}, "unknown format"),
        ({"accept_by_position": ".7", "drafter": "ngram", "concurrency": 0}, "`concurrency` 0"),
        ({"accept_by_position": ".7", "drafter": "ngram"}, "needs `hardware`"),
        ({"accept_by_position": ".7", "drafter": "ngram", "hardware": "h100_sxm"}, "target"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(asked, expected):
    with pytest.raises(InputError, match=expected) as refused:
        svsim.advise(**asked)
    assert "\n" not in str(refused.value)
