"""What mkdocs calls while it builds the site (``hooks`` in mkdocs.yml)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import django  # noqa: E402
from django.conf import settings as django_settings  # noqa: E402

if not django_settings.configured:
    django_settings.configure(
        INSTALLED_APPS=["argus_maint", "django_tasks_db"],
        TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        USE_TZ=True,
    )
    django.setup()

from mkdocs.structure.files import File, Files  # noqa: E402

from tools.docs import backends, commands, fences, runbooks, schemas, settings  # noqa: E402

CHANGELOG = "changelog.md"
GUIDE = "operating.md"


def on_config(config: Any) -> Any:
    """Put every page into the navigation, and take our ``console`` blocks.

    Pages that are made come after the index of their kind, and pages of docs/ that mkdocs.yml
    does not place come with the operating guide.
    """
    for index, pages in _indexed().items():
        _extend(config.nav, index, list(pages))
    placed = json.dumps(config.nav)
    others = [path.name for path in sorted((ROOT / "docs").glob("*.md"))]
    _extend(config.nav, GUIDE, [name for name in others if f'"{name}"' not in placed])
    console: dict[str, Any] = {"name": "console", "class": "console"}
    console |= {"format": fences.console, "validator": fences.takes_title}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [console]
    return config


def _indexed() -> dict[str, dict[str, str]]:
    return {commands.INDEX: commands.pages(), runbooks.INDEX: runbooks.pages()}


def _extend(nav: list[Any], index: str, pages: list[str]) -> None:
    for entry in nav:
        inner = _target(entry)
        if isinstance(inner, list):
            if any(_target(each) == index for each in inner):
                inner.extend(path for path in pages if path != index)
            _extend(inner, index, pages)


def _target(entry: Any) -> Any:
    return next(iter(entry.values())) if isinstance(entry, dict) else entry


def on_files(files: Files, config: Any) -> Files:
    """Add what is made from the code, and what lies outside docs/."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    made = settings.pages() | schemas.pages() | schemas.files() | {CHANGELOG: changelog}
    for pages in _indexed().values():
        made |= pages
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Say the attributes of our blocks as titles, and put in what is made from the code."""
    return backends.for_the_site(fences.for_the_site(markdown))
