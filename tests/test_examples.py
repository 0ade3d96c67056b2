"""Every example runs and prints what is kept beside it; notebooks run and show what they kept.

After a change that is meant, ``python tests/test_examples.py`` writes the kept outputs again.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
MAX_NOTEBOOK_BYTES = 400_000
ABSOLUTE_PATH = re.compile(r"(?<![\w./$<])/[A-Za-z]\w*/\w")  # of the machine that ran it


def printed(script: Path) -> str:
    """What a script prints, run from another folder."""
    done = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def executed(notebook: Path) -> Any:
    """The notebook, run from its own folder, with fresh outputs."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    document = nbformat.read(notebook, as_version=4)
    folder = {"metadata": {"path": str(notebook.parent)}}
    nbclient.NotebookClient(
        document, timeout=300, kernel_name="python3", record_timing=False, resources=folder
    ).execute()
    return document


def shown(document: Any) -> list[dict[str, Any]]:
    """Outputs of all cells by kind; of images only that they are there."""
    found = []
    for cell in document.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text": output.get("text")})
            found.append({kind: bool(v) if kind.startswith("image/") else v for kind, v in data.items()})
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_prints_what_is_kept(script):
    assert printed(script) == script.with_suffix(".out").read_text()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_shows_what_is_kept(notebook):
    nbformat = pytest.importorskip("nbformat")
    kept = nbformat.read(notebook, as_version=4)
    assert notebook.stat().st_size < MAX_NOTEBOOK_BYTES
    told = "\n".join(str(value) for output in shown(kept) for value in output.values())
    assert ABSOLUTE_PATH.search(told) is None
    assert sum(output.get("image/png", False) for output in shown(kept)) >= 2
    assert shown(executed(notebook)) == shown(kept)


def test_every_use_has_its_example():
    assert {script.stem for script in SCRIPTS} >= {
        "replay_from_python",
        "analytic_and_replay",
        "compare_hardware",
        "custom_latency",
        "own_selection_rule",
        "synthetic_trace",
        "advise_llama70b_counters",
        "advise_qwen3_32b_ngram",
        "advise_qwen3_30b_moe",
        "advise_deepseek_v3_mtp",
    }
    assert {notebook.stem for notebook in NOTEBOOKS} == {
        "batch_size_under_a_tpot_limit",
        "which_method_and_how_many_gpus",
        "what_if_acceptance_drifts",
        "from_vllm_metrics_to_a_decision",
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_between_notebooks_lead_somewhere(notebook):
    for link in re.findall(r"\]\(([^)]+\.ipynb)\)", notebook.read_text()):
        assert (notebook.parent / link).is_file(), link


def write_again() -> None:
    """Keep what the examples show now."""
    import nbformat

    for script in SCRIPTS:
        script.with_suffix(".out").write_text(printed(script))
    for notebook in NOTEBOOKS:
        nbformat.write(executed(notebook), notebook)


if __name__ == "__main__":
    write_again()
