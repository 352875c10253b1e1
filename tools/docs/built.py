"""Looks at the site that mkdocs has built, without a network.

    python -m tools.docs.built site [--browser chromium]

Every link within it leads somewhere, its anchor too; nothing that a browser loads by itself
comes from another host; the search has every page. With ``--browser`` a real one opens the
site from its folder, without a network, and the search must find a word. Exit status: 0 all
of this is so; 1 it is not, and each place is named.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

WORD = "quarantined"  # is found in the guide, on runbooks and in the settings
# What the browser fetches by itself; of <link> only what is not a mere mention.
LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
MENTIONS = {"canonical", "alternate", "next", "prev", "author", "license", "help", "search"}
# The theme's script would fetch these for what no page of ours has.
ASKED_FOR_BY = {
    "unpkg.com/mermaid": re.compile(r'class="[^"]*\bmermaid\b'),
    "api.github.com": re.compile(r'data-md-component="source"'),
    "${e}/api/v4/projects": re.compile(r'data-md-component="source"'),  # any host with GitLab
    "unpkg.com/resize-observer-polyfill": re.compile(r"(?!)"),  # browsers from before 2020
}
HARMLESS = ("www.w3.org/", "bit.ly/", "example.com")  # names of things, and text for people
OUTSIDE = re.compile(r"""https?://([\w$][^\s"'`)<>\\]*)""")
IN_CSS = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class Page(HTMLParser):
    """The links, anchors and loads of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what this tag names."""
        given = {key: value or "" for key, value in attrs}
        self.anchors.update(given[key] for key in ("id", "name") if key in given)
        if tag in ("a", "area") and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and not MENTIONS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        for key in LOADS.get(tag, ()):
            self.loads += [
                each.split()[0] for each in given.get(key, "").split(",") if each.strip()
            ]
        self.loads += _of_css(given.get("style", ""))


def _of_css(text: str) -> list[str]:
    return [first or second for first, second in IN_CSS.findall(text)]


def _is_outside(target: str) -> bool:
    return bool(urlsplit(target).netloc)


def problems(site: Path) -> Iterator[str]:
    """What is wrong with the site, a line each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site}: there is no page"
    for path, page in pages.items():
        where = path.relative_to(site)
        for target in dict.fromkeys(page.links + page.loads):
            if wrong := _leads_nowhere(site, path, target, pages):
                yield f"{where}: {target} {wrong}"
        yield from (f"{where}: loads {one} from outside" for one in page.loads if _is_outside(one))
    yield from _styles(site)
    yield from _scripts(site, [path.read_text(encoding="utf-8") for path in pages])
    yield from _search(site, pages)


def _leads_nowhere(site: Path, path: Path, target: str, pages: dict[Path, Page]) -> str:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or path.name == "404.html":  # that one is at any address
        return ""
    name = unquote(parts.path)
    file = (path.parent / name if name else path).resolve()
    file = file / "index.html" if file.is_dir() else file
    if not file.is_file() or not file.is_relative_to(site.resolve()):
        return "leads nowhere"
    anchor = unquote(parts.fragment)
    known = next((each for each in pages if each.resolve() == file.resolve()), None)
    if known and anchor and anchor not in pages[known].anchors and not anchor.startswith("__"):
        return "has no such anchor"
    return ""


def _styles(site: Path) -> Iterator[str]:
    for path in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        text = path.read_text(encoding="utf-8")
        found = _of_css(text)
        if path.suffix == ".svg":
            found += Page(text).loads
        outside = [each for each in found if _is_outside(each)]
        yield from (f"{path.relative_to(site)}: loads {each} from outside" for each in outside)


def _scripts(site: Path, pages: Iterable[str]) -> Iterator[str]:
    """A script may name a host only for what no page asks for."""
    inline = {
        f"a script in {number}": script
        for number, page in enumerate(pages)
        for script in re.findall(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", page, re.DOTALL)
    }
    files = {
        str(path.relative_to(site)): path.read_text(encoding="utf-8")
        for path in sorted(site.rglob("*.js"))
        if path.parent.name != "search"  # the texts of the pages
    }
    for where, text in {**files, **inline}.items():
        for host in dict.fromkeys(OUTSIDE.findall(_without_comments(text))):
            if not host.startswith(HARMLESS) and not _nobody_asks(host, pages):
                yield f"{where}: names {host}"


def _without_comments(script: str) -> str:
    return re.sub(r"/\*.*?\*/|^\s*//.*$", "", script, flags=re.DOTALL | re.MULTILINE)


def _nobody_asks(host: str, pages: Iterable[str]) -> bool:
    marks = [mark for name, mark in ASKED_FOR_BY.items() if host.startswith(name)]
    return bool(marks) and not any(marks[0].search(page) for page in pages)


def _search(site: Path, pages: Iterable[Path]) -> Iterator[str]:
    """The index of the search, which the plugin "offline" puts into a script too."""
    try:
        index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
        script = (site / "search/search_index.js").read_text(encoding="utf-8")
    except OSError as error:
        yield f"search: {error}"
        return
    if json.loads(script.removeprefix("var __index = ")) != index:
        yield "search: search_index.js is not the index"
    found = {entry["location"].partition("#")[0] or "index.html" for entry in index["docs"]}
    for path in pages:
        where = path.relative_to(site).as_posix()
        if where not in found and where != "404.html":
            yield f"search: {where} is not in the index"
    if not any(WORD in entry["text"].lower() for entry in index["docs"]):
        yield f"search: {WORD!r} is not in the index"


def searched(site: Path, browser: str) -> Iterator[str]:
    """Search in a real browser, from the folder, where no host can be reached."""
    address = f"{(site / 'index.html').resolve().as_uri()}?q={WORD}"
    with TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
                *("--virtual-time-budget=20000", "--dump-dom", address),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
    results = re.findall(r'class="md-search-result__link"[^>]*href="([^"]+)"', done.stdout) or (
        re.findall(r'href="([^"]+)"[^>]*class="md-search-result__link"', done.stdout)
    )
    print(f"{browser}: the search for {WORD!r} finds {len(results)} pages")
    if not results:
        yield f"{browser}: the search for {WORD!r} finds nothing; {done.stderr[-500:]}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--browser", help="A Chromium, such as chromium.")
    options = parser.parse_args()
    found = list(problems(options.site))
    if options.browser and not found:
        found += searched(options.site, options.browser)
    print(*found or ["every link leads somewhere; nothing is loaded from outside"], sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
