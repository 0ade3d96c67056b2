"""Settings from JSON and from a command line's words: the same settings, or one line that says why not."""

import json
from dataclasses import asdict, fields

import pytest

from svsim.cli.traces import SYNTH_NUMBERS
from svsim.errors import InputError
from svsim.synthetic.options import read_settings, settings_of, with_options
from svsim.synthetic.settings import LengthLaw, SyntheticSettings, TaskSettings

FULL = SyntheticSettings(
    (
        TaskSettings((0.8, 0.82, 0.83), name="code", share=2.0, prompt_tokens=LengthLaw(100, 0.1, 5, 900)),
        TaskSettings(verified_acceptance=0.4, name="chat"),
    ),
    num_requests=33,
    num_speculative_tokens=3,
    burstiness=0.1,
    greedy=True,
    information_measure="paper",
)


def test_nothing_given_is_the_default():
    assert settings_of({}) == SyntheticSettings()


def test_settings_survive_json():
    assert settings_of(json.loads(json.dumps(asdict(FULL)))) == FULL


def test_the_words_of_the_command_line_make_the_same_settings():
    values = with_options(
        {"num_requests": 1, "num_speculative_tokens": 3},
        ["code:acceptance=0.8/0.82/0.83,share=2", "chat:verified_acceptance=0.4,output_tokens=50:0.2"],
        {"num_requests": 33, "burstiness": 0.1, "greedy": True, "drift": None, "acceptance": None},
    )
    assert settings_of(values) == SyntheticSettings(
        (
            TaskSettings((0.8, 0.82, 0.83), name="code", share=2.0),
            TaskSettings(verified_acceptance=0.4, name="chat", output_tokens=LengthLaw(50, 0.2)),
        ),
        num_requests=33,
        num_speculative_tokens=3,
        burstiness=0.1,
        greedy=True,
    )


def test_task_options_go_to_the_only_task():
    file = {"tasks": [{"name": "code", "acceptance": 0.8, "prompt_tokens": 90}]}
    values = with_options(file, (), {"verified_acceptance": "0.5", "output_tokens": "70"})
    (task,) = settings_of(values).tasks
    assert task == TaskSettings(
        verified_acceptance=0.5, name="code", prompt_tokens=LengthLaw(90), output_tokens=LengthLaw(70)
    )
    assert settings_of(with_options({}, (), {"acceptance": "0.6"})).tasks == (TaskSettings(0.6),)


def test_help_tells_the_true_defaults():
    defaults = {f.name: f.default for f in fields(SyntheticSettings)}
    assert {name: default for name, (_, default, _) in SYNTH_NUMBERS.items()} == {
        name: defaults[name] for name in SYNTH_NUMBERS
    }
    assert defaults["information_measure"] == "acceptance" and defaults["greedy"] is False
    assert defaults["tasks"] == (TaskSettings(0.75),)
    assert TaskSettings(0.75).prompt_tokens == TaskSettings(0.75).output_tokens == LengthLaw(200, 0.5)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"num_request": 5}, "did you mean num_requests"),
        ({"num_requests": "many"}, "num_requests is many, expected a whole number"),
        ({"num_requests": 5.5}, "whole number"),
        ({"num_requests": True}, "whole number"),
        ({"drift": "0.1"}, "expected a number"),
        ({"drift": float("nan")}, "expected a number"),
        ({"drift": None}, "expected a number"),
        ({"greedy": 1}, "true or false"),
        ({"information_measure": 3}, "a text"),
        ({"information_measure": "bits"}, "acceptance or paper"),
        ({"tasks": []}, "a list of tasks"),
        ({"tasks": {"name": "chat"}}, "a list of tasks"),
        ({"tasks": ["chat"]}, "an object"),
        ({"tasks": [{"acceptanc": 0.5}]}, "did you mean acceptance"),
        ({"tasks": [{"acceptance": [0.5, "x"]}]}, "expected a number"),
        ({"tasks": [{"acceptance": 0.5, "prompt_tokens": {"variation": 1}}]}, "without a mean"),
        ({"tasks": [{"acceptance": 0.5, "prompt_tokens": [3]}]}, "expected a number"),
        ({"tasks": [{"acceptance": 1.5}]}, "a probability in 0..1"),
        ({"tasks": [{"name": "chat"}]}, "expected one"),
    ],
)
def test_bad_values_are_named(values, says):
    with pytest.raises(InputError) as error:
        settings_of(values)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tasks", "options", "says"),
    [
        (["chat:acceptance"], {}, "NAME:key=value"),
        (["chat:acceptance=0.5,acceptance=0.6"], {}, "each key once"),
        (["chat:acceptance=half"], {}, "expected a number"),
        (["chat:colour=1"], {}, "colour"),
        (["chat:share=2"], {}, "expected one"),
        (["a:acceptance=0.5", "b:acceptance=0.5"], {"output_tokens": "30"}, "--output-tokens is of one task"),
        ([], {"acceptance": "0.5/x"}, "expected a number"),
        ([], {"output_tokens": "30:much"}, "expected a number"),
        ([], {"acceptance": "0.5/0.5"}, "K = 7 values"),
        ([], {"acceptance": "nan"}, "expected a number"),
        ([], {"acceptance": "0.5", "verified_acceptance": "0.5"}, "2 of acceptance, verified_acceptance"),
    ],
)
def test_bad_words_are_named(tasks, options, says):
    with pytest.raises(InputError) as error:
        settings_of(with_options({}, tasks, options))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), ("{", "not valid JSON"), ("[1]", "JSON object"), ("\xff", "JSON")],
)
def test_bad_settings_files(tmp_path, content, says):
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError) as error:
        read_settings(path)
    assert says in str(error.value) and "settings.json" in str(error.value)
