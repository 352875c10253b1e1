"""Reading a runbook: one Markdown file a code, whose commands are executed in tests.

Using it::

    page = parse(Path("runbooks/NoWorkers.md"))
    for step in page.steps_for(supervisor="systemd", database="postgresql"):
        step.command, step.expected, step.status

A page is front matter (``key: value``, a subset of YAML), ``# <Code>`` and the sections of
``SECTIONS``. Its fences are ``console``, which is executed, and ``text``, which is not.
In a ``console`` fence a line ``$ ...`` begins a command, ``> ...`` right below goes on with
it, and what follows is its output (``...`` stands for anything, in a line or as a line),
without lines: it prints nothing. A last line ``[N]`` is the exit status, where it is not 0.

What stands after the language narrows or helps a fence:

- ``supervisor=NAME``, ``database=VENDOR``: only there. Without: everywhere.
- ``retry=20s``: what the page says comes true within that time. Default: at once.
- ``limit=60s``: how long one command may take. Default: 60 s.
- ``step="..."``: what the commands are for, in a few words.
- ``ask="..."``: what a person has to judge before they are run.

Whatever would not be seen by this parser, or be seen otherwise by another, is an error
that names file and line: indented code, HTML, a fence inside a list, an unknown language
or attribute, output before a prompt, a variable that is not declared or not quoted.

Errors: PageError. Events: none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from argus_maint.runbooks.errors import PageError
from argus_maint.runbooks.fence import Attributes, Fence, Step, commands
from argus_maint.runbooks.matter import Matter, read_matter

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation", "Verify", "Escalation")
WITHOUT_COMMANDS = ("Meaning", "Impact")
LANGUAGES = ("console", "text")

__all__ = ["SECTIONS", "Fence", "Page", "PageError", "Step", "parse", "parse_text"]


@dataclass(frozen=True, slots=True)
class Page:
    """A runbook, read and found sound.

    Attributes:
        path: the file.
        matter: its front matter.
        text: the whole file, front matter included; lines are counted in it, from 1.
        first: the line of the title: where the Markdown begins.
        fences: every fence, ``text`` ones too.
        steps: every command of every variant, in the order of the page.
    """

    path: Path
    matter: Matter
    text: str
    first: int
    fences: tuple[Fence, ...]

    @property
    def name(self) -> str:
        """The code that the page is for."""
        return self.matter.alert

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every command of every variant."""
        return tuple(step for fence in self.fences for step in fence.steps)

    def steps_for(self, supervisor: str = "", database: str = "") -> list[Step]:
        """The commands for one supervisor and one database; an empty one does not narrow."""
        return [step for step in self.steps if step.fits(supervisor, database)]


def parse(path: Path) -> Page:
    """Read one file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PageError(path, 1, f"it is not UTF-8: {error}") from None
    except OSError as error:
        raise PageError(path, 1, f"it cannot be read: {error.strerror}") from error
    return parse_text(path, text)


def parse_text(path: Path, text: str) -> Page:
    """Read a page's text; ``path`` is what errors name."""
    lines = text.split("\n")  # as Markdown counts them: splitlines() knows other ends
    _refuse_unseen(path, lines)
    matter, body = read_matter(path, lines)
    tokens = MarkdownIt("commonmark").parse("\n" * body + "\n".join(lines[body:]))
    for token in tokens:
        _refuse_hidden(path, token)
    first = _check_headings(path, tokens, matter)
    fences = tuple(_fences(path, tokens, lines, matter))
    return Page(path, matter, text, first, fences)


def _refuse_unseen(path: Path, lines: list[str]) -> None:
    """Characters that nobody sees, such as a no-break space in a command."""
    for number, line in enumerate(lines, 1):
        for character in line:
            if not character.isprintable():
                message = f"the character {character!r} cannot be seen: write a plain space"
                raise PageError(path, number, message)


def line_of(token: Token) -> int:
    """The line of the file where a token begins."""
    return token.map[0] + 1 if token.map else 1


def _refuse_hidden(path: Path, token: Token) -> None:
    """What another reader of Markdown would see otherwise than we do."""
    if token.type == "code_block":
        raise PageError(
            path, line_of(token), "indented code is never executed: put it in a console fence"
        )
    inline = any(child.type == "html_inline" for child in token.children or ())
    if token.type == "html_block" or inline:
        raise PageError(path, line_of(token), "HTML may hide a fence: write plain Markdown")
    if token.type == "fence" and token.level:
        raise PageError(
            path, line_of(token), "a fence in a list or quote: begin it at the left edge"
        )


def _check_headings(path: Path, tokens: list[Token], matter: Matter) -> int:
    """The title and the six sections, in their order; the line of the title."""
    found = [
        (token.tag, tokens[index + 1].content, line_of(token))
        for index, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag in ("h1", "h2")
    ]
    wanted = [("h1", matter.alert), *(("h2", section) for section in SECTIONS)]
    last = len(matter.raw) + 2
    for (tag, title), (real_tag, real, line) in zip(wanted, found, strict=False):
        last = line
        if (tag, title) != (real_tag, real):
            mark = "#" if tag == "h1" else "##"
            raise PageError(path, line, f"here must be '{mark} {title}', not {real!r}")
    if len(found) > len(wanted):
        raise PageError(path, found[len(wanted)][2], f"no section follows {SECTIONS[-1]}")
    if len(found) < len(wanted):
        tag, title = wanted[len(found)]
        mark = "#" if tag == "h1" else "##"
        raise PageError(path, last, f"'{mark} {title}' is missing after this")
    return found[0][2]


def _fences(path: Path, tokens: list[Token], lines: list[str], matter: Matter) -> list[Fence]:
    fences: list[Fence] = []
    section = ""
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            section = tokens[index + 1].content
        elif token.type == "fence":
            fences.append(_fence(path, token, section, lines, matter))
    for wanted in ("Diagnosis", "Mitigation", "Verify"):
        if not any(fence.section == wanted and fence.steps for fence in fences):
            line = next(line for line, text in enumerate(lines, 1) if text == f"## {wanted}")
            raise PageError(path, line, f"{wanted} has no command")
    return fences


def _fence(path: Path, token: Token, section: str, lines: list[str], matter: Matter) -> Fence:
    line = line_of(token)
    assert token.map is not None
    end = token.map[1]
    if not re.fullmatch(r" {0,3}`{3,}\s*", lines[end - 1]) or end == line:
        raise PageError(path, line, "this fence is not closed")
    if not token.markup.startswith("`"):
        raise PageError(path, line, "write a fence with backticks")
    language, _, rest = token.info.strip().partition(" ")
    if language not in LANGUAGES:
        raise PageError(
            path,
            line,
            f"language {language!r} is neither executed nor inert: it must be console or text",
        )
    attributes = Attributes.read(path, line, rest, matter)
    if language == "text":
        return Fence(line, end, section, language, attributes, ())
    if section in WITHOUT_COMMANDS or not section:
        raise PageError(path, line, f"{section or 'the top'} has no commands: use a text fence")
    steps = commands(path, line + 1, section, token.content, attributes, matter)
    return Fence(line, end, section, language, attributes, steps)
