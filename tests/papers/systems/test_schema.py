"""The JSON of ``svsim reproduce``: keys that outside programs rely on, kinds of their values."""

import pytest
from support.command_line import svsim_json, svsim_refuses

NUMBER = (int, float, type(None))
ROW = {
    "system": str,
    "setting": str,
    "metric": str,
    "published": NUMBER,
    "predicted": NUMBER,
    "error": NUMBER,
    "role": str,
    "verdict": str,
    "why": str,
    "tolerance_relative": NUMBER,
    "tolerance_absolute": NUMBER,
}
SYSTEM = {
    "system": str,
    "title": str,
    "paper": str,
    "law": str,
    "parameters": list,
    "findings": list,
    "objections": list,
    "confirmed": int,
    "not_confirmed": int,
    "not_testable": int,
    "num_calibrated": int,
    "num_inputs": int,
    "mean_error": NUMBER,
    "largest_error": NUMBER,
}


@pytest.mark.parametrize("words", [(), ("vocabtrim",), ("stree", "--tau", "2.2")], ids=" ".join)
def test_keys_and_kinds(words):
    found = svsim_json("reproduce", *words)
    assert list(found) == ["svsim", "systems", "rows"]
    for entry in found["systems"]:
        assert list(entry) == list(SYSTEM)
        assert all(isinstance(entry[key], kind) for key, kind in SYSTEM.items())
        for parameter in entry["parameters"]:
            assert list(parameter) == ["name", "meaning", "domain", "default"]
    for row in found["rows"]:
        assert list(row) == list(ROW)
        assert all(isinstance(row[key], kind) for key, kind in ROW.items())
        assert row["role"] in ("calibrated", "predicted", "input")
        assert row["verdict"] in ("confirmed", "not confirmed", "not testable")


def test_parameters_as_the_command_line_spells_them():
    says = svsim_refuses("reproduce", "easyspec", "--attention-share", "1.5")
    assert says == "--attention-share 1.5 is out of range; expected a number, 0 to 1"
    says = svsim_refuses("reproduce", "stree", "--tau", "2", "--shape", "bush")
    assert says == "--shape bush is out of range; expected tree or chain or both"


def test_every_metric_of_that_name_is_compared():
    rows = svsim_json("reproduce", "stree", "--tau", "2.2", "--published", "tok/s=60")["rows"]
    assert len(rows) == 4 and {row["published"] for row in rows} == {60}
