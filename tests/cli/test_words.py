"""One message, two spellings: Python's words when called from Python, flags on the command line."""

import click
import pytest
from support.command_line import svsim_refuses
from support.small_traces import independent_trace

import svsim
from svsim.cli.words import as_flags
from svsim.errors import InputError
from svsim.trace.file import save_trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "trace.parquet"
    save_trace(independent_trace(20, 4, seed=1), path)
    return path


@pytest.mark.parametrize(
    ("asked", "words", "in_python", "on_the_command_line"),
    [
        ({"batch_sizes": [0]}, ["--batch", "0"], "`batch_sizes` 0 is out", "--batch 0 is out"),
        ({"refill": "x"}, ["--refill", "x"], "`refill` x is unknown", "--refill x is unknown"),
        ({"batch_of": "x"}, ["--batch-of", "x"], "`batch_of` x is unknown", "--batch-of x is unknown"),
        (
            {"convention": "specdecode-bench", "prefill": "exclude"},
            ["--convention", "specdecode-bench", "--prefill", "exclude"],
            "`convention=specdecode-bench` fixes `prefill=include`",
            "--convention specdecode-bench fixes --prefill include",
        ),
        ({}, [], "`latency=FILE`", "--latency FILE"),
    ],
)
def test_messages_have_the_callers_words(trace, asked, words, in_python, on_the_command_line):
    with pytest.raises(InputError) as caught:
        svsim.replay(trace, **asked)
    assert in_python in str(caught.value) and "--" not in str(caught.value)
    message = svsim_refuses("replay", trace, *words)
    assert on_the_command_line in message and "`" not in message


def test_only_options_become_flags():
    command = click.Command("run", params=[click.Option(["--batch", "batch_sizes"])])
    with click.Context(command) as ctx:
        assert as_flags("`batch_sizes` `my_file` `batch_sizes=3`", ctx) == "--batch `my_file` --batch 3"
