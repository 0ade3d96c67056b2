"""Templates of pages, filled in one pass (values are not templates), their foot, and the file they end in."""

import os
from importlib.resources import files
from pathlib import Path

from svsim.errors import InputError, printable
from svsim.files import write_atomically
from svsim.report.html import Html, element, text


def resource(name: str) -> str:
    """A file beside this one."""
    return (files("svsim.report") / name).read_text(encoding="utf-8")


def filled(name: str, **values: str) -> str:
    """The template with every ``{{name}}`` replaced."""
    head, *pieces = resource(name).split("{{")
    made = [head]
    for piece in pieces:
        key, _, rest = piece.partition("}}")
        made += [values[key], rest]
    return "".join(made)


def small_page(title: str, more_css: str, body: str, scripts: str = "") -> str:
    """A page without charts of plotly. scripts: elements at its end; without any, none may run."""
    return filled(
        "small_page.html",
        title=text(title, 120),
        css=resource("page.css"),
        more_css=more_css,
        body=body,
        scripts=scripts,
        script_source="; script-src 'unsafe-inline'" if scripts else "",
    )


def footer(version: str) -> Html:
    """Who made the page, and that it is complete."""
    return element(
        "footer", f"Made by svsim {version}. This file is complete: it loads nothing from anywhere."
    )


def write_page(document: str, path: str | os.PathLike[str]) -> None:
    """Write the whole page or nothing; InputError where that fails."""
    target = Path(path)
    try:
        write_atomically(target, document.encode())
    except OSError as error:
        raise InputError(
            f"{printable(target)} cannot be written ({error.strerror}); choose another place"
        ) from None
