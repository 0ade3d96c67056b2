"""The page about a user's own numbers: its examples are read, its table is whole, its options exist."""

import re
from pathlib import Path

import pytest
from support.command_line import svsim_run

from svsim.importing.formats import FORMATS, import_acceptance

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own_numbers.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("language", ["jsonl", "csv"])
def test_the_examples_are_one_recording(tmp_path, language):
    path = tmp_path / f"mine.{language}"
    path.write_text(block(language))
    made = import_acceptance("accept-lengths", [path])
    acceptance = made.acceptance()
    assert (acceptance["k"], acceptance["num_steps"]) == (3, 7)
    assert acceptance["mean_acceptance_length"] == pytest.approx(1 + 7 / 7)
    assert made.trace.request_ids == ("a", "b") and made.trace.tasks == ("chat", "code")
    assert made.trace.num_prompt_tokens.tolist() == [512, 90]


def test_every_format_is_in_the_table():
    assert set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)) == set(FORMATS)


def test_options_of_the_page_exist():
    known = "".join(
        svsim_run(name, "--help").stdout for name in ("import", "synth", "replay", "validate", "advise")
    )
    of_engines = {"--save-result", "--speculative-config", "--speculative-num-steps"}
    of_engines |= {"--spec-type", "--spec-draft-n-max"}
    for option in set(re.findall(r"--[a-z][a-z-]+", PAGE)) - of_engines:
        assert option in known, option
