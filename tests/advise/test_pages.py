"""What the README and docs/own_numbers.md show of advise is what the commands print."""

import json
import re
import shlex
from pathlib import Path

import pytest
from support.command_line import svsim_run

ROOT = Path(__file__).resolve().parents[2]
LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192,
    "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
    "vocab_size": 128256, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def scrape(drafts, *by_position):
    """Counters of vLLM's /metrics at k = 3, as the example of the README has them."""
    name, label = "vllm:spec_decode_num", 'model_name="llama-3.1-70b"'
    lines = [
        f"{name}_drafts_total{{{label}}} {drafts}",
        f"{name}_draft_tokens_total{{{label}}} {3 * drafts}",
        f"{name}_accepted_tokens_total{{{label}}} {sum(by_position)}",
    ]
    for place, count in enumerate(by_position):
        lines.append(f'{name}_accepted_tokens_per_pos_total{{{label},position="{place}"}} {count}')
    return "\n".join(lines) + "\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before.prom").write_text(scrape(1000, 700, 480, 320))
    (tmp_path / "after.prom").write_text(scrape(101000, 72700, 51480, 36320))
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text(json.dumps(LLAMA_70B))
    return tmp_path


def section_of(page, heading):
    text = (ROOT / page).read_text()
    return re.split(r"^## ", text.split(f"## {heading}\n")[1], flags=re.M)[0]


def commands_of(section):
    """Indented lines that begin with svsim, joined over backslashes."""
    joined = section.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in joined.splitlines() if line.startswith("    svsim ")]


def shown_of(section):
    """The first block of output."""
    return section.split("```\n")[1]


def told(text):
    """Lines without trailing blanks, empty ones left out."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_the_first_screen_of_the_readme_is_what_is_printed(here):
    section = section_of("README.md", "Should this server speculate?")
    *_, printed = [svsim_run(*words).stdout for words in commands_of(section)]
    shown = told(shown_of(section))
    assert told(printed)[: len(shown)] == shown
    assert (here / "serve.sh").read_text().count("--speculative-config") == 2
