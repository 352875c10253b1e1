"""What maintenance can do on each task backend: a table, from the adapters."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from django.utils.module_loading import import_string

from argus_maint.backends import adapters
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter
from tools.docs.text import code, page, prose, table

PAGE = "backends/index.md"
MARK = "<!-- the table of the adapters comes here -->"
# What adapters import may be missing where the site is built.
OPTIONAL = {*adapters.PACKAGES, "redis", "rq", "django_rq"} - {"django_tasks", "django_tasks_db"}
CLOUD = (f"{adapters.__name__}.cloud.Cloud", "django_tasks_cloud.*")


def for_the_site(markdown: str) -> str:
    """The page with the table in it; any other page as it is."""
    return markdown.replace(MARK, _text()) if MARK in markdown else markdown


def known() -> dict[str, type[Adapter]]:
    """Every adapter that is built in, by the class of its backend."""
    paths: dict[str, str] = {}
    for backend, adapter in (*adapters.KNOWN.items(), CLOUD[::-1]):
        paths.setdefault(adapter, backend)  # Django's own are there twice, for the backport
    with _stand_ins():
        return {backend: each for path, backend in paths.items() for each in _imported(path)}


class _StandIn(ModuleType):
    """A module that has whatever is imported from it."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


class _Finder:
    """Comes last, so that a package which is there is the one that is taken."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        here = name.partition(".")[0] in OPTIONAL
        return ModuleSpec(name, self, is_package=True) if here else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


@contextmanager
def _stand_ins() -> Generator[None, None, None]:
    """Let adapters be imported whose libraries are missing; nobody else will see them so."""
    finder, before = _Finder(), set(sys.modules)
    sys.meta_path.append(finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in set(sys.modules) - before:
            module = sys.modules[name]
            if isinstance(module, _StandIn) or name.startswith(f"{adapters.__name__}."):
                del sys.modules[name]


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
