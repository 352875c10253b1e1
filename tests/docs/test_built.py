"""A site that is built wrong is found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.docs.built import problems

GOOD = {
    "index.html": '<a href="other.html#there">other</a><a href="https://elsewhere.org">far</a>'
    '<link rel="canonical" href="https://here.org/"><img src="picture.svg">',
    "other.html": '<h1 id="there">Other</h1><a href=".">home</a><a href="#there">up</a>',
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg"><path fill="url(#a)"/></svg>',
    "style.css": "a { background: url(data:image/png;base64,x) } /* http://license.org */",
    "script.js": "// see https://docs.org\nconst ns = 'http://www.w3.org/2000/svg'",
}


def _site(folder: Path, **changed: str) -> Path:
    files = GOOD | {name.replace("_", "."): text for name, text in changed.items()}
    for name, text in files.items():
        (folder / name).write_text(text)
    places = ("", "other.html", "other.html#there")
    index = {"docs": [{"location": place, "text": "quarantined"} for place in places]}
    (folder / "search").mkdir()
    (folder / "search/search_index.json").write_text(json.dumps(index))
    (folder / "search/search_index.js").write_text(f"var __index = {json.dumps(index)}")
    return folder


def test_a_good_site_has_no_problem(tmp_path: Path) -> None:
    assert list(problems(_site(tmp_path))) == []


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"index_html": '<a href="gone.html">x</a>'}, "index.html: gone.html leads nowhere"),
        ({"index_html": '<img src="gone.png">'}, "index.html: gone.png leads nowhere"),
        ({"index_html": '<a href="other.html#no">x</a>'}, "other.html#no has no such anchor"),
        ({"index_html": '<a href="../x">x</a>'}, "index.html: ../x leads nowhere"),
        (
            {"index_html": '<script src="https://cdn.org/x.js"></script>'},
            "cdn.org/x.js from outside",
        ),
        ({"index_html": '<script src="//cdn.org/x.js"></script>'}, "//cdn.org/x.js from outside"),
        ({"index_html": '<link rel="stylesheet" href="https://f.org/">'}, "https://f.org/ from"),
        ({"index_html": '<link rel="preconnect" href="https://f.org">'}, "https://f.org from"),
        ({"index_html": '<img srcset="https://i.org/a 2x">'}, "https://i.org/a from outside"),
        ({"index_html": '<p style="background:url(//i.org/a)">'}, "//i.org/a from outside"),
        ({"index_html": "<script>fetch('https://count.org')</script>"}, "names count.org"),
        ({"style_css": "@import 'https://f.org/a.css';"}, "style.css: loads https://f.org/a.css"),
        ({"style_css": "a { src: url(https://f.org/a) }"}, "style.css: loads https://f.org/a"),
        ({"picture_svg": '<svg><image href="https://i.org"/></svg>'}, "loads https://i.org"),
        ({"script_js": "load('https://cdn.org/x')"}, "script.js: names cdn.org/x"),
        (
            {"script_js": "load('https://unpkg.com/mermaid')", "index_html": '<p class="mermaid">'},
            "script.js: names unpkg.com/mermaid",
        ),
        ({"third_html": "<p>not in the index</p>"}, "third.html is not in the index"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changed: dict[str, str], says: str) -> None:
    found = list(problems(_site(tmp_path, **changed)))
    assert len(found) == 1 and says in found[0], found


def test_a_site_without_a_search_is_found_out(tmp_path: Path) -> None:
    site = _site(tmp_path)
    (site / "search/search_index.js").unlink()
    assert [line.partition(":")[0] for line in problems(site)] == ["search"]
