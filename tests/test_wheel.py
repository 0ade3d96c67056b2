"""The wheel alone, outside a checkout: every command finds its data, and it holds nothing else."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("pyproject.toml", "README.md", "LICENSE")


def has_setuptools() -> bool:
    try:
        return int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if not has_setuptools():
        pytest.skip("building a wheel needs setuptools >= 77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "svsim", source / "svsim", ignore=shutil.ignore_patterns("__pycache__"))
    for name in NEEDED:
        shutil.copy(ROOT / name, source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
    ]
    done = subprocess.run([*build, "-w", folder, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """What ``python -m svsim`` is when only the wheel is there: a function of its words."""
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    env = {**os.environ, "PYTHONPATH": str(place)}

    def run(*words: object) -> str:
        command = [sys.executable, "-P", "-m", "svsim", *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=elsewhere, env=env, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = "import svsim; print(svsim.__file__)"
    where = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=elsewhere, env=env
    ).stdout
    assert Path(where.strip()).is_relative_to(place)
    return run


def test_every_module_and_data_file_is_inside(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "svsim").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= inside
    assert {name.split("/")[0] for name in inside - wanted} == {f"svsim-{version_inside(inside)}.dist-info"}


def version_inside(names):
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return metadata.split("-")[1].removesuffix(".dist")


def test_the_lists_are_there(installed):
    for command in ("methods", "hardware", "models", "engines"):
        assert len(json.loads(installed(command, "--json", "-"))[command]) > 3


def test_a_trace_is_made_and_replayed_from_the_shipped_kernels(installed, tmp_path):
    trace, page = tmp_path / "t.parquet", tmp_path / "page.html"
    models = ["--target", "llama-3.1-8b", "--draft", "llama-3.2-1b"]
    installed("synth", "--acceptance", "0.7", "--num-requests", "40", *models, "--out", trace)
    run = ["--latency", "database", "--hardware", "h100_sxm", "--method", "sd:k=1-2", "--batch", "4"]
    rows = json.loads(installed("replay", trace, *run, "--report", page, "--json", "-"))["rows"]
    assert [row["params"]["k"] for row in rows] == [1, 2] and all(row["goodput_tok_s"] > 0 for row in rows)
    assert page.stat().st_size > 10_000
