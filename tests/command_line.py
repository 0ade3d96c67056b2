"""Run the real command in a process of its own."""

import json
import subprocess
import sys
from typing import Any


def svsim_run(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``svsim ARGS``; the exit code must be ``code``."""
    command = [sys.executable, "-c", "from svsim.cli import main; main()", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, f"exit {done.returncode}, stderr: {done.stderr}"
    return done


def svsim_json(*args: object) -> Any:
    """Run with ``--json -``; stdout must be JSON and nothing else, stderr empty."""
    done = svsim_run(*args, "--json", "-")
    assert done.stderr == ""
    return json.loads(done.stdout)


def svsim_refuses(*args: object, code: int = 2) -> str:
    """Run a bad command; returns its one line on stderr. Nothing goes to stdout."""
    done = svsim_run(*args, code=code)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("svsim: ") and "Traceback" not in lines[0]
    return lines[0].removeprefix("svsim: ")
