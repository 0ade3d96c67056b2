"""The table of systems: the one list that the command, the page and the tests read."""

from collections.abc import Mapping
from difflib import get_close_matches

from svsim.errors import InputError, printable
from svsim.papers.system import System
from svsim.papers.systems import (
    chen,
    del_,
    diffuspec,
    dovetail,
    ead,
    easyspec,
    exegpt,
    judge,
    kangaroo,
    leviathan,
    magicdec,
    pearl,
    ralmspec,
    reflect,
    scylla,
    vocabtrim,
)

SYSTEMS: Mapping[str, System] = {
    module.SYSTEM.name: module.SYSTEM
    for module in (
        leviathan,
        chen,
        pearl,
        kangaroo,
        vocabtrim,
        magicdec,
        easyspec,
        diffuspec,
        del_,
        dovetail,
        judge,
        reflect,
        ead,
        exegpt,
        ralmspec,
        scylla,
    )
}
SV_PAPER = "sv-paper"  # claim by claim, with a page and options of its own


def find_system(name: str) -> System:
    """The system of a name; InputError with the known ones."""
    if name not in SYSTEMS:
        close = get_close_matches(name, [*SYSTEMS, SV_PAPER], 1)
        hint = f"did you mean {close[0]}? " if close else ""
        known = ", ".join([*SYSTEMS, SV_PAPER])
        raise InputError(f"unknown system {printable(name, 60)}; {hint}known: {known}")
    return SYSTEMS[name]
