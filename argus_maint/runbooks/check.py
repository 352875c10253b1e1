"""What can be wrong with the pages as a whole, beyond what their parser refuses.

``check(folder, codes, faults)`` returns one line for each problem, with file and line: a
code without a page, a page without a code or a fault, a link that leads nowhere, a
variable that nobody explains, a variant that some site is left without.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from argus_maint.conf_findings import Code
from argus_maint.options import did_you_mean
from argus_maint.runbooks.errors import PageError
from argus_maint.runbooks.fence import DATABASES
from argus_maint.runbooks.fill import introduced_at
from argus_maint.runbooks.page import Page, line_of, parse
from argus_maint.runbooks.variables import IN_TEXT

_PLACEHOLDER = re.compile(r"<[A-Za-z][\w -]*>|\b(?:TODO|FIXME|XXX)\b")


def check(folder: Path, codes: Mapping[str, Code], faults: Collection[str] | None) -> list[str]:
    """Every problem of the pages in a folder; ``faults`` None leaves faults out."""
    paths = sorted(path for path in folder.glob("*.md") if path.stem != "README")
    problems = [
        f"{folder / f'{code}.md'}:1: {code} has no runbook"
        for code in codes
        if folder / f"{code}.md" not in paths
    ]
    for path in paths:
        if path.stem not in codes:
            near = did_you_mean(path.stem, codes)
            problems.append(f"{path}:1: no finding is called {path.stem!r}.{near}")
            continue
        try:
            page = parse(path)
        except PageError as error:
            problems.append(str(error))
        else:
            problems += [
                f"{path}:{line}: {text}" for line, text in _of_page(page, codes[path.stem], faults)
            ]
    return problems


def _of_page(page: Page, code: Code, faults: Collection[str] | None) -> Iterator[tuple[int, str]]:
    if page.matter.severity != code.severity:
        yield 1, f"severity must be {code.severity}, as that of the finding is by default"
    if faults is not None and page.matter.fault not in faults:
        near = did_you_mean(page.matter.fault, faults)
        yield 1, f"there is no fault {page.matter.fault!r}.{near}"
    yield from _variables(page)
    yield from _variants(page)
    yield from _placeholders(page)
    yield from _links(page)


def _section(page: Page, name: str) -> tuple[int, str]:
    """The line of a section's heading, and its text without fences."""
    lines = page.text.split("\n")
    first = lines.index(f"## {name}")
    for fence in page.fences:
        lines[fence.line - 1 : fence.end] = [""] * (fence.end - fence.line + 1)
    text = itertools.takewhile(lambda line: not line.startswith("## "), lines[first + 1 :])
    return first + 1, "\n".join(text)


def _variables(page: Page) -> Iterator[tuple[int, str]]:
    line, text = _section(page, "Diagnosis")
    told = set(IN_TEXT.findall(text))
    used = {
        name
        for step in page.steps
        for name in IN_TEXT.findall("\n".join((step.command, *step.expected)))
    }
    for name in page.matter.variables:
        if name not in used:
            yield 1, f"no command uses ${name}: leave it out of the variables"
        elif name not in told:
            yield line, f"Diagnosis does not say what ${name} is"


def _variants(page: Page) -> Iterator[tuple[int, str]]:
    for fence in page.fences:
        narrowed = fence.attributes.supervisor or fence.attributes.database
        if narrowed and introduced_at(page, fence) == fence.line:
            yield fence.line, f"say above it, with a colon, that it is for {narrowed}"
    for section in ("Diagnosis", "Mitigation", "Verify"):
        for supervisor, database in itertools.product(page.matter.supervisors, DATABASES):
            steps = page.steps_for(supervisor, database)
            if not any(step.section == section for step in steps):
                yield (
                    _section(page, section)[0],
                    f"{section} has no command for {supervisor} with {database}",
                )


def _placeholders(page: Page) -> Iterator[tuple[int, str]]:
    inert = {
        number
        for fence in page.fences
        if fence.language == "text"
        for number in range(fence.line, fence.end + 1)
    }
    for number, line in enumerate(page.text.split("\n"), 1):
        if number not in inert and (found := _PLACEHOLDER.search(line)):
            yield number, f"{found[0]!r} is a placeholder that nothing fills"


def _links(page: Page) -> Iterator[tuple[int, str]]:
    body = "\n" * (page.first - 1) + "\n".join(page.text.split("\n")[page.first - 1 :])
    for token in MarkdownIt("commonmark").parse(body):
        for child in token.children or ():
            target = _target(child)
            if target is not None and (why := _dead(page.path, target)):
                yield line_of(token), f"the link to {target!r} leads nowhere: {why}"
            if child.type == "text" and re.search(r"\]\[|\]\(", child.content):
                yield line_of(token), f"this is no link: {child.content!r}"


def _target(token: Token) -> str | None:
    key = {"link_open": "href", "image": "src"}.get(token.type)
    return str(token.attrs.get(key, "")) if key else None


def _dead(path: Path, target: str) -> str:
    """Why a link is wrong; what is outside is not asked."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return "" if parts.scheme == "https" and parts.netloc else "outside, only https is right"
    file = path.parent / parts.path if parts.path else path
    if not file.is_file():
        return "there is no such file"
    if parts.fragment and parts.fragment not in _anchors(file):
        return "the file has no such heading"
    return ""


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*?)\s*$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}
