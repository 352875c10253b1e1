"""Where the pages are: in the package, as a wheel has them, else in the checkout around it."""

from __future__ import annotations

from pathlib import Path

from argus_maint.runbooks.page import Page, parse

PACKAGE = Path(__file__).resolve().parent
SHIPPED = PACKAGE / "pages"  # put there when the wheel is built
CHECKOUT = PACKAGE.parent.parent / "runbooks"


class NoPage(LookupError):
    """There are no pages, or not this one; ``str()`` is one line."""


def folder() -> Path:
    """The folder of the pages. Raises NoPage."""
    for place in (SHIPPED, CHECKOUT):
        if place.is_dir():
            return place
    raise NoPage(f"no runbooks are installed: neither {SHIPPED} nor {CHECKOUT} is there")


def names() -> list[str]:
    """The codes that have a page."""
    return sorted(path.stem for path in folder().glob("[A-Z]*.md") if path.stem != "README")


def page_of(code: str) -> Page:
    """The page of a code. Raises NoPage, and PageError where it is wrong."""
    path = folder() / f"{code}.md"
    if not path.is_file():
        raise NoPage(f"there is no runbook for {code} in {folder()}")
    return parse(path)
