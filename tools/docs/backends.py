"""What maintenance can do on each task backend: a table, from the adapters."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.module_loading import import_string

from argus_maint.backends import adapters
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter
from tools.docs.text import code, page, prose, table

PAGE = "backends/index.md"
MARK = "<!-- the table of the adapters comes here -->"
CLOUD = (f"{adapters.__name__}.cloud.Cloud", "django_tasks_cloud.*")


def for_the_site(markdown: str) -> str:
    """The page with the table in it; any other page as it is."""
    return markdown.replace(MARK, _text()) if MARK in markdown else markdown


def known() -> dict[str, type[Adapter]]:
    """Every adapter that is built in, by the class of its backend."""
    paths: dict[str, str] = {}
    for backend, adapter in (*adapters.KNOWN.items(), CLOUD[::-1]):
        paths.setdefault(adapter, backend)  # Django's own are there twice, for the backport
    return {backend: each for path, backend in paths.items() for each in _imported(path)}


def _imported(path: str) -> Iterator[type[Adapter]]:
    try:
        yield import_string(path)
    except ImportError:  # it is not part of this version
        return


def _text() -> str:
    found = known()
    rows = [
        [
            prose(each.package or "Django"),
            code(backend.rpartition(".")[2]) if not backend.endswith("*") else "all of its",
            *("yes" if getattr(each, f"supports_{one}") else "-" for one in CAPABILITIES),
        ]
        for backend, each in found.items()
    ]
    meanings = [[code(name), prose(told)] for name, told in CAPABILITIES.items()]
    return page(
        table(["package", "backend", *CAPABILITIES], rows),
        table(["word", "means"], meanings),
        "What is not supported, and why:",
        "\n".join(_reasons(found)),
    ).rstrip()


def _reasons(found: dict[str, type[Adapter]]) -> Iterator[str]:
    for backend, adapter in found.items():
        by_reason: dict[str, list[str]] = {}
        for each in CAPABILITIES:
            if not getattr(adapter, f"supports_{each}"):
                by_reason.setdefault(adapter.why_not.get(each, "nobody has said"), []).append(each)
        for reason, those in by_reason.items():
            what = "all" if len(those) == len(CAPABILITIES) else ", ".join(those)
            name = adapter.package if backend.endswith("*") else backend.rpartition(".")[2]
            yield f"- {code(name)}, {what}: {prose(reason)}"
