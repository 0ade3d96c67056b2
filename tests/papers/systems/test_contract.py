"""Whatever system is in the table: rows that add up, parameters that are read, words that are there."""

import math
import subprocess
import sys

import pytest

from svsim.errors import InputError
from svsim.papers.parameters import read_parameters
from svsim.papers.reproduction import reproduce_systems
from svsim.papers.rows import Role, Verdict, score_of
from svsim.papers.table import SYSTEMS, find_system

NAMES = list(SYSTEMS)
WITH_PARAMETERS = [name for name in NAMES if SYSTEMS[name].parameters]
# one value in the domain of each parameter without default
ASKED = {
    "leviathan": {"alpha": 0.7, "gamma": 4},
    "chen": {"token_ms": 7.0},
    "pearl": {"gamma": 9, "mat": 13.99},
    "kangaroo": {"drafted": 2},
    "vocabtrim": {"rows": 32768, "tau": 3.5},
    "magicdec": {"batch": 64},
    "easyspec": {"attention_share": 0.5},
    "diffuspec": {"k": 20, "mat": 6.0},
    "del": {"alpha": 0.8},
    "dovetail": {"slope": 0.05},
    "judge": {"share": 0.5},
    "reflect": {"batch": 4},
    "ead": {"share": 0.4},
    "exegpt": {"be": 20, "nd": 5},
    "ralmspec": {"a": 0.5, "b": 3.0, "gamma": 0.7},
    "eagle2": {"model": "llama-2-13b", "tau": 4.5},
    "eagle3": {"model": "llama-2-13b", "tau": 6.0},
    "medusa": {"tau": 2.4},
    "sequoia": {"m": 16},
    "multi": {"n": 2},
    "stree": {"tau": 2.4},
    "longspec": {"tau": 3.8},
    "rasd": {"drafted": 3, "retrieved": 1},
    "scylla": {"a": 1.2, "b": 0.3, "x": 1e8},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_system_says_what_it_did_and_why(name):
    system = SYSTEMS[name]
    assert system.name == name and system.title and system.law
    assert any(mark in system.paper for mark in ("arXiv", "repository")), "name the source"
    assert system.source
    (found,) = reproduce_systems(name, {}).systems
    assert found.rows and not found.is_asked
    assert set(found.objections) <= set(found.findings)
    assert all(any(char.isdigit() for char in words) for words in found.objections), "with the arithmetic"
    for row in found.rows:
        assert row.system == name and row.setting and row.metric and row.why
        assert not row.is_judged or row.within is not None
        for number in (row.published, row.predicted):
            assert number is None or math.isfinite(number)
    assert len({(row.setting, row.metric) for row in found.rows}) == len(found.rows), "rows are told apart"


@pytest.mark.parametrize("name", NAMES)
def test_verdicts_follow_from_numbers(name):
    for row in reproduce_systems(name, {}).rows:
        document = row.to_dict()
        assert list(document)[:9] == [
            *("system", "setting", "metric", "published", "predicted", "error", "role", "verdict", "why"),
        ]
        if row.role is not Role.PREDICTED or row.published is None or row.predicted is None:
            assert row.verdict is Verdict.NOT_TESTABLE
        if row.verdict is Verdict.NOT_TESTABLE:
            continue
        difference = abs(row.predicted - row.published)
        allowed = row.within.absolute
        allowed = row.within.relative * abs(row.published) if allowed is None else allowed
        assert (row.verdict is Verdict.CONFIRMED) == (difference <= allowed)
        assert document["error"] == pytest.approx(row.predicted / row.published - 1)
        assert str(row.within) in document["why"]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_every_time(name):
    assert reproduce_systems(name, {}).to_dict() == reproduce_systems(name, {}).to_dict()


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_parameters_give_predictions_without_verdict_until_compared(name):
    found = reproduce_systems(name, ASKED[name])
    (system,) = found.systems
    first = system.rows[0]
    assert system.is_asked and first.predicted is not None and first.published is None
    assert {row.verdict for row in system.rows} == {Verdict.NOT_TESTABLE}
    right = reproduce_systems(name, ASKED[name], {"": first.predicted}).rows[0]
    assert (right.verdict, right.error) == (Verdict.CONFIRMED, 0.0)
    wrong = reproduce_systems(name, ASKED[name], {first.metric: 2 * first.predicted + 1}).rows[0]
    assert wrong.verdict is Verdict.NOT_CONFIRMED


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_absurd_parameters_are_refused(name):
    for parameter in SYSTEMS[name].parameters:
        for absurd in ("-1e9", "nan", "inf", "", "many", True, None, [1]):
            if absurd is None:  # left out
                continue
            with pytest.raises(InputError, match=f"`{parameter.name}`"):
                reproduce_systems(name, {**ASKED[name], parameter.name: absurd})
        if math.isfinite(parameter.at_most) and not parameter.words:
            with pytest.raises(InputError, match="expected"):
                reproduce_systems(name, {**ASKED[name], parameter.name: parameter.at_most * 2 + 1})


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_both_ends_of_every_range_give_numbers(name):
    for parameter in SYSTEMS[name].parameters:
        ends = parameter.words or (parameter.at_least, min(parameter.at_most, 1e6))
        for end in ends:
            try:
                rows = reproduce_systems(name, {**ASKED[name], parameter.name: end}).rows
            except InputError as error:  # two parameters that do not go together
                assert "`" in str(error)
                continue
            assert all(row.predicted is None or math.isfinite(row.predicted) for row in rows)


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_a_missing_parameter_is_named(name):
    parameters = SYSTEMS[name].parameters
    for parameter in (p for p in parameters if p.default is None):
        given = {n: v for n, v in ASKED[name].items() if n != parameter.name}
        with pytest.raises(InputError, match=f"`{parameter.name}`"):
            read_parameters(name, parameters, given)


def test_defaults_lie_in_their_own_domain():
    for system in SYSTEMS.values():
        for parameter in system.parameters:
            assert parameter.meaning and parameter.at_least <= parameter.at_most
            if parameter.default is not None:
                assert parameter.read(parameter.default) == parameter.default


def test_unknown_systems_and_parameters_are_one_line_with_the_remedy():
    with pytest.raises(InputError, match="did you mean pearl"):
        find_system("perl")
    with pytest.raises(InputError, match=r"pearl has no `alpha`; it has `batch`, `gamma`, `mat`, `pair`"):
        reproduce_systems("pearl", {"alpha": 0.5})
    with pytest.raises(InputError, match="name it first"):
        reproduce_systems(None, {"alpha": 0.5})
    with pytest.raises(InputError, match="these rows have tokens per step"):
        reproduce_systems("pearl", ASKED["pearl"], {"goodput": 3.0})
    with pytest.raises(InputError, match="`published`"):
        reproduce_systems("pearl", {}, {"": 3.0})


def test_all_systems_at_once_are_the_sum_of_each():
    found = reproduce_systems(None, {})
    assert [s.system.name for s in found.systems] == NAMES
    for system in found.systems:
        assert system.rows == reproduce_systems(system.system.name, {}).rows
        score = score_of(system.rows)
        counted = score.confirmed + score.not_confirmed + score.not_testable
        assert counted + score.num_calibrated + score.num_inputs == len(system.rows)
    assert len(found.to_frame()) == len(found.rows)


def test_the_table_costs_the_command_line_nothing():
    code = (
        "import sys, svsim.papers.table; print([m for m in ('numpy', 'scipy', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
