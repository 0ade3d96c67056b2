"""However a command ends: one line, the right exit code, no traceback."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.command_line import svsim_refuses
from support.trace_examples import make_step_times, make_trace

from svsim.trace.file import save_trace

COMMAND = [sys.executable, "-c", "from svsim.cli import main; main()"]


def shell(line, tmp_path, **environment):
    """Run a line in which $S is svsim."""
    code = "'from svsim.cli import main; main()'"
    script = f'S() {{ {sys.executable} -c {code} "$@"; }}; {line}'
    env = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], cwd=tmp_path, env=env, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("S methods > /dev/full", 2, b"stdout cannot be written (No space left on device)"),
        ("S methods --json - > /dev/full", 2, b"stdout cannot be written (No space left on device)"),
        ("S --help > /dev/full", 2, b"stdout cannot be written (No space left on device)"),
        ("S methods >&-", 2, b"stdout cannot be written (Bad file descriptor)"),
        ("S methods 2>&-", 0, b""),
        ("S no-such-command 2>&-", 2, b""),
        ("S methods | head -1", 0, b""),
        ("S methods --json - | head -1", 0, b""),
        ("S --help | true", 0, b""),
        ("S info pipe", 2, b"regular file"),
        ("S info loop", 2, b"Too many levels of symbolic links"),
        ("S info /dev/zero", 2, b"regular file"),
        ("S models --config pipe", 2, b"pipe"),
        (f"S info {'n' * 256}", 2, b"File name too long"),
        (f"S models --config {'n' * 256}", 2, b"File name too long"),
    ],
)
def test_streams_and_files_of_every_kind(tmp_path, line, code, says):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    done = shell(line, tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == (says != b"")


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str
)
def test_a_stream_that_is_ascii_only(tmp_path, environment):
    done = shell("S methods && S hardware && S models && S replay --help", tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert done.stderr == b""


def test_a_name_that_is_no_utf_8(tmp_path):
    done = shell(r"S methods --json $'\xff.json' > /dev/null && S info $'\xfe'", tmp_path)
    assert (tmp_path / os.fsdecode(b"\xff.json")).exists()
    assert done.returncode == 2
    assert done.stderr == b"svsim: ?: no such file; check the path\n"


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path):
    from dataclasses import replace

    evil = "\x1b[31m\x07\u202e"
    trace = make_trace([40] * 30, 3, ("similarity", "companion_accept", "accept_prob", "draft_prob"))
    models = {role: {"name": f"{evil}{role}"} for role in ("target", "draft", "companion")}
    metadata = replace(trace.metadata, models=models, dataset=evil, hardware=evil, command=evil, date=evil,
                       extra={evil: evil}, software={evil: evil})  # fmt: skip
    trace = replace(
        trace,
        metadata=metadata,
        request_ids=tuple(f"{evil}{i}" for i in range(30)),
        tasks=tuple(f"{evil}{i % 3}" for i in range(30)),
    )
    save_trace(trace, tmp_path / "T.parquet")
    line = {"fixed_s": 0.01, "per_new_token_s": 1e-4, "per_kv_token_s": 0}
    import json

    passes = dict.fromkeys(("target", "draft", "companion"), line)
    (tmp_path / "\x1b.json").write_text(
        json.dumps({"kind": "linear", "overhead_per_step_s": 0, "draft_is_one_pass": False, **passes})
    )
    done = shell(
        "S info T.parquet; S replay T.parquet --latency $'\\e.json' --batch 2 --report r.html --csv -; "
        "S replay T.parquet --latency $'\\e.json' --batch 2; cat r.html",
        tmp_path,
    )
    assert b"Traceback" not in done.stderr
    shown = (done.stdout + done.stderr).decode()
    assert "[31m" in shown
    assert not {char for char in shown if not char.isprintable()} - {"\n", "\t"}


def test_step_times_with_control_characters_are_refused(tmp_path):
    columns = make_step_times() | {"source": __import__("numpy").array(["a", "\x1b[2J", "b"])}
    from svsim.errors import TraceError

    with pytest.raises(TraceError, match=r"column source, row 1: got \?\[2J, expected a printable text"):
        save_trace(make_trace([5], 2, step_times=columns), tmp_path / "T.parquet")


def test_numbers_of_5000_digits(tmp_path):
    save_trace(make_trace([5, 3], 2), tmp_path / "T.parquet")
    digits = "9" * 5000
    for option in ("--coins=redraw:", "--seed=", "--jobs=", "--batch=", "--method=sd:k=", "--profile-split="):
        svsim_refuses("replay", tmp_path / "T.parquet", option + digits)


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.2, 0.4, 0.6, 0.8])
def test_ctrl_c_at_any_moment(tmp_path, fraction):
    words = [*COMMAND, "synth", "--num-requests", "50", "--out", "T.parquet"]
    start = time.perf_counter()
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    whole_s = time.perf_counter() - start
    (tmp_path / "T.parquet").unlink()
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(fraction * whole_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (130, 0)  # 0: it was done before, on a machine that hurried
    assert stderr == (b"svsim: interrupted\n" if process.returncode else b"")
    assert [p.name for p in tmp_path.iterdir()] == ["T.parquet"] * (process.returncode == 0)
