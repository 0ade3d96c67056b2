"""Options in messages: svsim says ``batch_sizes`` as Python has it, the command line says --batch."""

import re

import click

_OPTION = re.compile(r"`(\w+)(?:=([^`]*))?`")


def as_flags(message: str, ctx: click.Context) -> str:
    """``message`` with its options as flags: of the command at hand, else of any that has the option.

    >>> as_flags("`batch_sizes` 0; choose `batch_of=copies`", ctx)  # doctest: +SKIP
    '--batch 0; choose --batch-of copies'
    """
    flags = _flags(ctx)

    def spelled(match: re.Match[str]) -> str:
        flag = flags.get(match[1])
        if flag is None:
            return match[0]
        return flag if match[2] is None else f"{flag} {match[2]}"

    return _OPTION.sub(spelled, message)


def _flags(ctx: click.Context) -> dict[str, str]:
    """The flag of every option by its name in Python."""
    group = ctx.find_root().command
    others = group.commands.values() if isinstance(group, click.Group) else ()
    found: dict[str, str] = {}
    for command in (*others, ctx.command):
        options = (p for p in command.params if isinstance(p, click.Option))
        found |= {option.name: option.opts[0] for option in options if option.name}
    return found
