"""The rooms of svsim: who may import whom. Levels only go down; the table is data."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "svsim"

BASE = {"errors", "files", "reading", "version", "progress", "spelling", "limits", "step_time_format"}
MATH = BASE | {"random_streams", "speculation_math", "closed_forms", "multi_draft_laws"}
TRACES = MATH | {"trace"}
MODEL = TRACES | {"compiled", "latency", "decoding", "records", "metrics"}
ENGINES = MODEL | {"engines", "analytic_model"}
TORCH = TRACES | {"latency", "device", "trace_capture", "calibration", "training"}
EVERYTHING = (
    ENGINES
    | TORCH
    | {"workload", "importing", "deployments", "device_groups", "feasibility", "inspection", "synthetic"}
    | {"serving", "speculative_retrieval", "phase_schedules"}
    | {"papers", "validation"}
)
# room -> rooms it may import (itself is always allowed)
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "version": set(),
    "spelling": set(),
    "compiled": set(),
    "limits": set(),
    "files": {"errors"},
    "reading": {"errors"},
    "step_time_format": {"errors"},
    "random_streams": {"errors"},
    "speculation_math": {"errors"},
    "closed_forms": set(),
    "multi_draft_laws": set(),
    "trace": MATH,
    "workload": MATH,
    "synthetic": TRACES | {"compiled", "decoding", "metrics"},
    "speculative_retrieval": MATH,
    "phase_schedules": MATH | {"latency"},
    "importing": TRACES | {"synthetic"},
    "latency": BASE,
    "decoding": TRACES | {"compiled", "latency"},
    "records": BASE | {"trace"},
    "engines": TRACES | {"compiled", "latency", "decoding", "records"},
    "analytic_model": TRACES | {"compiled", "latency", "decoding", "records", "engines"},
    "metrics": TRACES | {"records"},
    "report": BASE | {"records", "metrics", "papers", "synthetic", "trace"},
    "papers": ENGINES | {"synthetic", "speculative_retrieval", "phase_schedules"},
    "reproductions": BASE | {"papers", "report"},
    "device": BASE,
    "trace_capture": TRACES | {"latency", "device"},
    "calibration": TRACES | {"latency", "device"},
    "training": MATH | {"device", "trace_capture", "calibration"},
    "validation": ENGINES | TORCH,
    "deployments": TRACES | {"latency"},
    "catalogue": BASE | {"latency", "decoding"},
    "device_groups": TRACES | {"latency", "deployments"},
    "serving": ENGINES | {"workload", "deployments", "feasibility", "phase_schedules"},
    "inspection": ENGINES | {"deployments"},
    "feasibility": ENGINES | {"deployments", "device_groups"},
    "model_choice": TRACES | {"compiled", "latency", "decoding"},
    "options": ENGINES | {"model_choice"},
    "run": EVERYTHING | {"model_choice", "options", "report"},
    "advice": EVERYTHING | {"model_choice", "options", "run", "report"},
    "open_loop": EVERYTHING | {"model_choice", "options", "run", "report"},
    "planning": EVERYTHING | {"model_choice", "options", "run", "advice", "open_loop", "report"},
    "api": EVERYTHING | {"model_choice", "options", "run", "advice"},
    "sweeping": EVERYTHING
    | {"model_choice", "options", "run", "advice", "open_loop", "planning", "api", "report"},
    "__main__": {"cli"},
    "cli": EVERYTHING
    | {"model_choice", "options", "run", "advice", "open_loop", "api", "catalogue", "report", "sweeping"}
    | {"reproductions", "planning"},
}
# heavy packages -> rooms that may import them
TORCH_ROOMS = {"device", "trace_capture", "calibration", "training", "validation"}
ONLY_IN: dict[str, set[str]] = {
    "torch": TORCH_ROOMS,
    "transformers": TORCH_ROOMS,
    "tokenizers": TORCH_ROOMS,
    "plotly": {"report"},
    "simpy": {"serving"},
    "ray": {"sweeping"},
    "distributed": {"sweeping"},
}


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.append((node.lineno, node.module or ""))
            if node.module == "svsim":
                found += [(node.lineno, f"svsim.{alias.name}") for alias in node.names]
    return found


MODULES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{path}: no room named {room}; add it to the table on purpose"
    for line, module in imports(path):
        top, _, rest = module.partition(".")
        if top == "svsim":
            if not rest:
                continue
            target = rest.split(".")[0]
            assert target == room or target in MAY_IMPORT[room], (
                f"{path}:{line}: {room} may not import {target}"
            )
        if top in ONLY_IN:
            assert room in ONLY_IN[top], f"{path}:{line}: {top} is not for {room}"


def test_no_circle_between_files() -> None:
    """Late imports and those for type checkers count too: every file has a place above what it uses."""
    names = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    uses = {name: {module for module in imported(path) if module in names} for name, path in names.items()}
    try:
        graphlib.TopologicalSorter({name: found - {name} for name, found in uses.items()}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import circle: {' <- '.join(error.args[1])}")


def imported(path: Path) -> set[str]:
    """Modules and what is taken from them, as dotted names."""
    found = {module for _, module in imports(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_import_svsim_is_light() -> None:
    code = "import sys, svsim; print([m for m in ('torch', 'plotly', 'pandas', 'numba') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
