"""Blocks of code on a page, with the attributes that ours may have.

A block begins with its language and then ``name=value`` pairs: ``console retry=20s``. The
languages that have attributes are ``console``, whose commands are run, and ``text``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

_FENCE = re.compile(
    r"^(?P<marks>`{3,})(?P<language>console|text)[ \t]+(?P<rest>\S.*)$", re.MULTILINE
)
_BLOCK = re.compile(
    r"^(?P<marks>`{3,})(?P<language>\w+)?(?P<rest>[^\n`]*)\n(?P<body>.*?)^(?P=marks)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code; ``line`` is that of its first line of code."""

    language: str
    attributes: dict[str, str]
    body: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """Every block of a page."""
    for found in _BLOCK.finditer(page):
        line = page.count("\n", 0, found.start("body")) + 1
        yield Block(found["language"] or "", attributes(found["rest"]), found["body"], line)


def attributes(text: str) -> dict[str, str]:
    """``name=value`` pairs, where a value may be quoted."""
    return {key: value for key, _, value in (each.partition("=") for each in shlex.split(text))}


def for_the_site(page: str) -> str:
    """The page with the attributes of its blocks as titles, which is all that mkdocs takes."""
    return _FENCE.sub(_titled, page)


def _titled(found: re.Match[str]) -> str:
    title = "; ".join(filter(None, map(_said, attributes(found["rest"]).items())))
    title = title[:1].upper() + title[1:]
    return f"{found['marks']}{found['language']}" + (f' title="{title}"' if title else "")


def _said(attribute: tuple[str, str]) -> str:
    key, value = attribute[0], attribute[1].replace('"', "'")
    names = value.replace(",", " or ")
    match key:
        case "title" | "step":
            return value
        case "supervisor":
            return "without a service manager" if value == "hand" else f"with {names}"
        case "database":
            return f"on {names}"
        case "retry":
            return f"may take {value}"
        case _:
            return f"{key} {value}"


def console(
    source: str, language: str, css_class: str, options: Mapping[str, Any], *_: Any, **__: Any
) -> str:
    """A ``console`` block as HTML, with prompts and output marked: they are not copied.

    Pygments takes a line that begins with ``> `` for output, and here it goes on with a command.
    """
    title = options.get("title")
    head = f'<span class="filename">{escape(title)}</span>' if title else ""
    lines, within = [], False
    for line in source.splitlines():
        within = line.startswith("$ ") or (within and line.startswith(">"))
        lines.append(
            f'<span class="gp">{escape(line[:2])}</span>{escape(line[2:])}\n'
            if within
            else f'<span class="go">{escape(line)}\n</span>'
        )
    code = "".join(lines)
    return f'<div class="language-console highlight">{head}<pre><code>{code}</code></pre></div>'


def takes_title(language: str, inputs: dict[str, str], options: dict[str, Any], *_: Any) -> bool:
    """The one attribute that is left of ours when mkdocs sees a block."""
    options |= inputs
    return set(inputs) <= {"title"}
