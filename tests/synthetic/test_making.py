"""What a person asks for decides whether a trace exists; what nobody asked for never refuses."""

import numpy as np
import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run

from svsim.errors import InputError
from svsim.synthetic.making import Made, ReportedAcceptance, make
from svsim.synthetic.settings import SyntheticSettings, TaskSettings
from svsim.synthetic.trace import synthesize
from svsim.trace.file import load_trace

SMALL = {"num_requests": 64, "num_speculative_tokens": 3}


def made(reported: ReportedAcceptance | None = None, **options: object) -> Made:
    return make({}, (), {**SMALL, **options}, reported or ReportedAcceptance(), 0)


def test_unasked_companion_settings_give_way():
    low = made(acceptance="0.05")
    assert low.trace.target.accept_prob[:, 0].mean() == pytest.approx(0.05, abs=0.01)
    assert {"similarity", "companion_accept"} <= set(low.trace.observable.signals)
    assert low.notes and low.notes[0].startswith("`information_gain_bits` is 0.18")
    with pytest.raises(InputError, match=r"information_gain_bits 0\.2 exceeds"):
        made(acceptance="0.05", information_gain_bits=0.2)
    with pytest.raises(InputError, match=r"request_spread 0\.06 exceeds"):
        made(acceptance="0.995", request_spread=0.06)


def test_what_is_in_reach_is_left_as_it_is():
    plain = made(acceptance="0.6")
    settings = SyntheticSettings((TaskSettings(0.6),), num_requests=64, num_speculative_tokens=3)
    assert plain.notes == ()
    assert np.array_equal(plain.trace.target.num_accepted, synthesize(settings, 0).target.num_accepted)


@pytest.mark.parametrize("accept", ["0.0", "1.0", "0.004", "0.999"])
def test_every_acceptance_is_valid(accept):
    """Accepted alike at every position, so depth d is reached with a^d."""
    done = made(acceptance=accept)
    assert all(outcome.is_met for outcome in done.outcomes)
    accepted, a = done.trace.target.num_accepted, float(accept)
    assert (accepted >= 1).mean() == pytest.approx(a, abs=0.005)
    assert done.trace.metadata.chains == "coherent" and "no signals" in done.notes[0]
    with pytest.raises(InputError, match="`overlap_correlation` shapes signals"):
        made(acceptance=accept, overlap_correlation=0.3)
    with pytest.raises(InputError, match=r"expected 0\.01\.\.0\.995 where signals tell something"):
        synthesize(SyntheticSettings((TaskSettings(a),), **SMALL), 0)


def test_verified_acceptance_of_nothing_and_all():
    assert not made(verified_acceptance="0").trace.target.num_accepted.any()
    assert (made(verified_acceptance="1").trace.target.num_accepted == 3).all()


def test_reported_rates_are_met_and_extended():
    done = made(ReportedAcceptance(".77/.45/.24"), num_speculative_tokens=None)
    assert [o.asked for o in done.outcomes] == pytest.approx([0.77, 0.45, 0.24, 2.46])
    assert all(outcome.is_met for outcome in done.outcomes)
    longer = made(ReportedAcceptance(".8/.4"), num_speculative_tokens=4)
    assert [o.asked for o in longer.outcomes[:4]] == pytest.approx([0.8, 0.4, 0.2, 0.1])
    assert "k = 2 was given, 4 is asked for" in longer.notes[1] and "(2.20 to 3.00)" in longer.notes[1]
    half = made(ReportedAcceptance(".8/.4", proposal_share=0.5), num_speculative_tokens=None)
    assert half.outcomes[-1].measured == pytest.approx(1.6, rel=0.01)
    mean = made(ReportedAcceptance(acceptance_length=2.46, shape="even"))
    assert [o.asked for o in mean.outcomes[:3]] == pytest.approx([1.46 / 3] * 3)


@pytest.mark.parametrize(
    ("reported", "options", "expected"),
    [
        ({"accept_by_position": ".7/.9"}, {}, "rises from 0.7 to 0.9"),
        ({"accept_by_position": "x"}, {}, "expected a number"),
        ({"accept_by_position": ".7"}, {"acceptance": "0.5"}, "`acceptance` and reported rates exclude"),
        ({"accept_by_position": ".7"}, {"burstiness": 0.2}, "`burstiness` shapes signals"),
        ({"accept_by_position": ".7", "acceptance_length": 2.0}, {}, "not both"),
        ({"acceptance_length": 2.0}, {"num_speculative_tokens": None}, "give `num_speculative_tokens`"),
        ({"acceptance_length": 9.0}, {}, "out of reach, expected 1 to 4"),
        ({"accept_by_position": ".7", "proposal_share": 1.2}, {}, "`proposal_share` 1.2 is out of range"),
        ({"accept_by_position": ".7", "shape": "even"}, {}, "`shape` spreads a mean"),
        ({"shape": "even"}, {}, "`shape` is of acceptance as engines report it"),
        ({"proposal_share": 0.5}, {}, "`proposal_share` is of acceptance as engines report it"),
        ({"accept_by_position": ".7"}, {"num_requests": 10**12}, "ask for `num_requests` up to"),
    ],
)
def test_what_excludes_itself_is_refused(reported, options, expected):
    with pytest.raises(InputError) as caught:
        made(ReportedAcceptance(**reported), **options)
    assert expected in str(caught.value)


def test_the_command(tmp_path):
    out = tmp_path / "t.parquet"
    lengths = ("--prompt-tokens", "800", "--output-tokens", "300", "--num-requests", "20")
    found = svsim_json("synth", "--accept-by-position", ".72/.51/.36", *lengths, "--out", out)
    assert found["trace"]["num_speculative_tokens"] == 3 and found["trace"]["acceptance_kind"] == "synthetic"
    assert "other k than 3 are assumptions" in found["notes"][-1]
    trace = load_trace(out)
    assert set(trace.num_prompt_tokens) == {800} and set(trace.num_output_tokens) == {300}
    text = svsim_run("synth", "--acceptance-length", "2.5", "--num-speculative-tokens", "4", *lengths,
                     "--shape", "decay:0.8", "--out", out).stdout  # fmt: skip
    assert "mean acceptance length" in text and "other_k" in text
    refused = svsim_refuses(
        "synth", "--acceptance", ".77/.58/.53", "--num-speculative-tokens", "3", "--out", out
    )
    assert "rates at step starts (--accept-by-position)" in refused
