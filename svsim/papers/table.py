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
    eagle,
    easyspec,
    exegpt,
    judge,
    kangaroo,
    leviathan,
    longspec,
    magicdec,
    medusa,
    multi,
    pearl,
    ralmspec,
    rasd,
    reflect,
    scylla,
    sequoia,
    stree,
    vocabtrim,
)

SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        leviathan.SYSTEM,
        chen.SYSTEM,
        eagle.EAGLE2,
        eagle.EAGLE3,
        medusa.SYSTEM,
        sequoia.SYSTEM,
        multi.SYSTEM,
        stree.SYSTEM,
        longspec.SYSTEM,
        magicdec.SYSTEM,
        rasd.SYSTEM,
        dovetail.SYSTEM,
        kangaroo.SYSTEM,
        del_.SYSTEM,
        vocabtrim.SYSTEM,
        easyspec.SYSTEM,
        pearl.SYSTEM,
        diffuspec.SYSTEM,
        scylla.SYSTEM,
        judge.SYSTEM,
        reflect.SYSTEM,
        ead.SYSTEM,
        exegpt.SYSTEM,
        ralmspec.SYSTEM,
    )
}
SV_PAPER = "sv-paper"  # claim by claim, with a page and options of its own


def find_system(name: str) -> System:
    """The system of a name; InputError with the known ones."""
    if name == SV_PAPER:
        raise InputError(
            f"{SV_PAPER} has claims in the place of rows: svsim reproduce {SV_PAPER}, or "
            "svsim.papers.sv_paper.sv_paper.reproduce_sv_paper"
        )
    if name not in SYSTEMS:
        close = get_close_matches(name, [*SYSTEMS, SV_PAPER], 1)
        hint = f"did you mean {close[0]}? " if close else ""
        known = ", ".join([*SYSTEMS, SV_PAPER])
        raise InputError(f"unknown system {printable(name, 60)}; {hint}known: {known}")
    return SYSTEMS[name]
