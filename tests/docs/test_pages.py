"""What the site takes from elsewhere: runbooks, schemas, blocks of code, pictures."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from argus_maint import conf_findings
from argus_maint.backends.adapters.base import CAPABILITIES
from argus_maint.models import Process
from tools.docs import backends, fences, runbooks, schemas
from tools.docs.text import prose

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PICTURES = sorted((DOCS / "pictures").glob("*.svg"))


def test_the_index_of_the_runbooks_has_every_code_by_severity() -> None:
    index = runbooks.pages()[runbooks.INDEX]
    for name, code in conf_findings.CODES.items():
        section = index.split(f"\n## {code.severity.capitalize()}\n")[1].split("\n## ")[0]
        assert re.search(rf"^\| \[?{name}\b.*{re.escape(prose(code.summary))}", section, re.M)


def test_a_runbook_is_taken_as_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "NoWorkers.md").write_text("# NoWorkers\n\n[guide](../docs/operating.md)\n")
    (tmp_path / "README.md").write_text("for who looks at the folder")
    monkeypatch.setattr(runbooks, "FOLDER", tmp_path)
    pages = runbooks.pages()
    assert pages["runbooks/NoWorkers.md"] == "# NoWorkers\n\n[guide](../operating.md)\n"
    assert "[NoWorkers](NoWorkers.md)" in pages[runbooks.INDEX]
    assert "runbooks/README.md" not in pages


def test_every_schema_has_a_section_and_is_there_to_be_fetched() -> None:
    page = schemas.pages()[schemas.PATH]
    for path in schemas.FOLDER.glob("*.json"):
        assert f"\n## {path.stem}\n" in page
        assert schemas.files()[f"reference/schemas/{path.name}"] == path.read_text()


@pytest.mark.parametrize(
    "given, taken",
    [
        ("```console\n", "```console\n"),
        ("```console retry=20s\n", '```console title="May take 20s"\n'),
        (
            '```console supervisor=systemd step="Start it"\n',
            '```console title="With systemd; Start it"\n',
        ),
        ("```text database=postgresql\n", '```text title="On postgresql"\n'),
        ("```console supervisor=hand\n", '```console title="Without a service manager"\n'),
        ("```python\nx = 1\n", "```python\nx = 1\n"),
    ],
)
def test_attributes_of_a_block_become_its_title(given: str, taken: str) -> None:
    assert fences.for_the_site(given) == taken


def test_only_commands_of_a_block_are_copied() -> None:
    source = "$ cat <<'END'\n> <b>\n> END\nwhat comes\n> of it"
    html = fences.console(source, "console", "console", {"title": 'a "title"'})
    copied = re.sub(r'<span class="g[po]">.*?</span>', "", html, flags=re.DOTALL)
    assert copied.endswith("<code>cat &lt;&lt;&#x27;END&#x27;\n&lt;b&gt;\nEND\n</code></pre></div>")
    assert '<span class="filename">a &quot;title&quot;</span>' in html


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_stands_by_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert "href" not in text and "<script" not in text and "@import" not in text


def test_the_pictures_have_the_states_of_the_code() -> None:
    task, process = ((DOCS / f"pictures/{name}.svg").read_text() for name in ("task", "process"))
    # Django's, and the backport's: they are the rows' own words.
    for state in ("READY", "RUNNING", "SUCCESSFUL", "FAILED"):
        assert f">{state}</text>" in task
    for state in Process.State.values:
        assert f">{state}</text>" in process
    for picture in (task, process):
        assert "prefers-color-scheme: dark" in picture


def test_every_picture_on_a_page_has_a_text_in_its_place() -> None:
    shown = [
        (alt, target)
        for page in DOCS.glob("*.md")
        for alt, target in re.findall(r"!\[(.*?)\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert len(shown) >= 2
    for alt, target in shown:
        assert len(alt) > 80 and (DOCS / target).is_file()


def test_the_table_of_the_backends_has_every_adapter_that_is_there() -> None:
    source = (DOCS / backends.PAGE).read_text(encoding="utf-8")
    assert source.count(backends.MARK) == 1
    made = backends.for_the_site(source)
    assert backends.MARK not in made and "nobody has said" not in made
    known = backends.known()
    assert not any(isinstance(each, backends._StandIn) for each in sys.modules.values())
    for backend, adapter in known.items():
        name = "all of its" if backend.endswith("*") else f"`{backend.rpartition('.')[2]}`"
        (row,) = re.findall(rf"(?m)^\| .* \| {re.escape(name)} \| (.*) \|$", made)
        supported = [getattr(adapter, f"supports_{each}") for each in CAPABILITIES]
        assert [cell == "yes" for cell in row.split(" | ")] == supported
    assert backends.for_the_site("# Another page") == "# Another page"
