"""HTML that is escaped by construction: text becomes markup only through ``element``."""

from html import escape

from svsim.errors import printable

MAX_TEXT_LENGTH, MAX_NAME_LENGTH = 600, 80
_VOID = ("meta", "br", "hr", "input")


class Html(str):
    """Markup, as opposed to text. Write it by hand only around literals."""

    __slots__ = ()


Child = str | None  # None is left out


def text(value: object, max_length: int = MAX_TEXT_LENGTH) -> Html:
    """Any value as one line of escaped, printable text of at most ``max_length`` characters."""
    return Html(escape(printable(value, max_length)))


def short_name(value: object) -> Html:
    """``text`` for names of files and hardware, which are headings and should stay short."""
    return text(value, MAX_NAME_LENGTH)


def element(tag: str, *children: Child, **attributes: str | None) -> Html:
    """``<tag ...>children</tag>``; plain strings are escaped, Html is not.

    A trailing underscore of an attribute is dropped (``class_``), other underscores become dashes
    (``aria_label``); an attribute of None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{join(*children)}</{tag}>")


def join(*children: Child) -> Html:
    """Children one after the other; plain strings are escaped."""
    return Html("".join(c if isinstance(c, Html) else text(c) for c in children if c is not None))
