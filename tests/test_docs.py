"""The pages name files that exist and commands that parse."""

import re
import shlex
from pathlib import Path

import click
import pytest

from svsim.cli.app import cli, load_commands

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/**/*.md"))]
PAGES = [page for page in PAGES if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)]
FOLDERS = "svsim|tests|docs|calibration|examples|traces"
PATH = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w\.(?:py|md|json|parquet|ipynb|png|html|toml))\b")
load_commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    text = page.read_text()
    own = re.sub(r"[^\n]*repository [\w-]+/[^\n]*", "", text)  # lines about other people's repositories
    missing = [name for name in PATH.findall(own) if not (ROOT / name).exists()]
    assert not missing
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_that_a_page_shows_have_these_options(page):
    for line in commands(page.read_text()):
        words = shlex.split(line, comments=True)[1:]
        if not words or words[0].startswith("-"):
            continue
        assert words[0] in cli.commands, line
        known = {flag for p in cli.commands[words[0]].params for flag in (*p.opts, *p.secondary_opts)}
        given = [word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
        assert not [flag for flag in given if flag not in known | {"-h", "--help"}], line


def commands(text):
    """Command lines of indented or fenced blocks, continued lines joined."""
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    return re.findall(r"^(?: {4}|\t)?\$? ?(svsim [a-z][^\n|`]*)$", joined, re.MULTILINE)


def test_commands_are_found():
    assert commands("    svsim replay T.parquet --batch \\\n   8\n") == ["svsim replay T.parquet --batch 8"]
    assert sum(len(commands(page.read_text())) for page in PAGES) > 12
    assert isinstance(cli, click.Group)
