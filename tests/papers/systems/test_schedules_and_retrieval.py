"""ExeGPT, RaLMSpec, Scylla: single rows by hand, and what may not be claimed."""

import pytest

from svsim.errors import InputError
from svsim.papers.reproduction import reproduce_systems
from svsim.papers.rows import Role, Verdict
from svsim.papers.systems.ralmspec import fitted_model


def rows_of(name, **given):
    return {(row.setting, row.metric): row for row in reproduce_systems(name, given).rows}


def test_ralmspec_calibrates_two_strides_and_predicts_the_others():
    assert [fitted_model(name).hit_rate for name in ("EDR", "ADR", "SR")] == pytest.approx(
        [0.60, 0.605, 0.785]
    )
    rows = rows_of("ralmspec")
    judged = {setting: row for (setting, _), row in rows.items() if row.is_judged}
    assert {setting: row.verdict for setting, row in judged.items()} == {
        "EDR (dense, exact), s = 3": Verdict.CONFIRMED,
        "ADR (dense, HNSW), s = 3": Verdict.NOT_CONFIRMED,
        "ADR (dense, HNSW), OS3": Verdict.CONFIRMED,
        "SR (sparse, BM25), s = 3": Verdict.CONFIRMED,
    }
    edr = judged["EDR (dense, exact), s = 3"]
    assert edr.predicted == pytest.approx(32 / (1 + 0.6 + 0.36) * (0.75 + 144.39 / 32 - 0.25))
    assert judged["ADR (dense, HNSW), s = 3"].error == pytest.approx(-0.134, abs=0.001)
    for (setting, _), row in rows.items():
        is_fitted = any(mark in setting for mark in ("baseline", "s = 2", "s = 8", "all retrievers"))
        assert (row.role is Role.CALIBRATED) == is_fitted
        assert "prefetch" not in setting or row.verdict is Verdict.NOT_TESTABLE


def test_regeneration_moves_every_retriever_away_from_the_print():
    found = reproduce_systems("ralmspec", {}).systems[0]
    said = [finding for finding in found.findings if "every miss cost another a" in finding]
    assert len(said) == 3
    for name in ("EDR", "ADR", "SR"):
        worst = []
        for regenerates in (False, True):
            model = fitted_model(name, regenerates)
            rows = [
                r for r in found.rows if r.setting.startswith(name) and r.setting[-5:] in ("s = 2", "s = 8")
            ]
            worst.append(max(abs(seconds(model, row.setting) / row.published - 1) for row in rows))
        assert worst[1] > worst[0]


def seconds(model, setting):
    from svsim.speculative_retrieval.renewal import renewal_s

    return renewal_s(model, int(setting[-1]))


def test_ralmspec_answers_for_own_numbers():
    words = {"a": 0.5, "b": 2.0, "gamma": 0.5, "stride": 2}
    first, cut, best = reproduce_systems("ralmspec", words).rows
    assert first.predicted == pytest.approx(32 / 1.5 * 3.0) and cut.predicted > 0 and best.predicted == 2
    (os3,) = reproduce_systems("ralmspec", {**words, "stride": "os3"}).rows
    assert 60 < os3.predicted < 80
    later = reproduce_systems("ralmspec", {**words, "async": "yes"}).rows[0]
    assert later.predicted < first.predicted
    with pytest.raises(InputError, match="expected a whole number, 1 to 64, or os3"):
        reproduce_systems("ralmspec", {**words, "stride": "os4"})


def test_exegpts_latency_follows_from_its_throughput_and_the_law_is_biased():
    rows = rows_of("exegpt")
    setting = "task S, RRA B_E = 52, N_D = 13"
    latency, throughput = rows[setting, "p99 latency, s"], rows[setting, "queries/s"]
    assert latency.predicted == pytest.approx(5 * 52 / 25.23) and latency.verdict is Verdict.CONFIRMED
    assert throughput.predicted == pytest.approx(52 / (1.68 + 13 * 0.038))
    assert throughput.verdict is Verdict.CONFIRMED
    assert rows[setting, "residents, the paper's law"].predicted == pytest.approx(131.0, abs=0.1)
    loop = rows[setting, "residents of a simulated loop"].predicted
    assert loop == pytest.approx(rows[setting, "residents, steady state"].predicted, rel=0.01)
    admitted = rows[setting, "admitted per phase if held at the paper's residents"].predicted
    assert admitted / 52 - 1 == pytest.approx(-0.15, abs=0.01)
    waa = [row for (name, _), row in rows.items() if "WAA" in name]
    assert len(waa) == 4 and {row.verdict for row in waa} == {Verdict.NOT_TESTABLE}


def test_exegpt_answers_for_own_numbers():
    rows = rows_of("exegpt", be=26, nd=10, tail=31)
    assert rows["RRA B_E = 26, N_D = 10", "queries/s"].predicted == pytest.approx(26 / (0.84 + 0.38))
    assert rows["RRA B_E = 26, N_D = 10", "p99 latency, s"].predicted == pytest.approx(4 * 1.22)
    given = rows_of("exegpt", be=26, nd=10, tail=31, throughput=13.0)
    assert given["RRA B_E = 26, N_D = 10", "p99 latency, s"].predicted == pytest.approx(4 * 2.0)


def test_scylla_claims_nothing():
    assert {row.verdict for row in reproduce_systems("scylla", {}).rows} == {Verdict.NOT_TESTABLE}
    (row,) = reproduce_systems("scylla", {"a": 1.0, "b": 0.5, "x": 100}).rows
    assert row.predicted == pytest.approx(2.0)
