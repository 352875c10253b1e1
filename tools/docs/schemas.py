"""The page of the JSON schemas, and the schemas themselves to be fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import argus_maint
from tools.docs.text import code, page, prose, table

FOLDER = Path(argus_maint.__file__).parent / "schemas"
PATH = "reference/schemas.md"


def files() -> dict[str, str]:
    """The schemas as they are shipped, by their path in the site."""
    return {
        f"reference/schemas/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted(FOLDER.glob("*.json"))
    }


def pages() -> dict[str, str]:
    """The page by its path."""
    parts = [
        "# JSON schemas",
        "These are the documents that `--json` prints, made from the schemas of the package. "
        "What is stable, and what an exit status means, is told in "
        "[JSON output](../json.md).",
    ]
    for name, text in files().items():
        parts += _section(Path(name).name, json.loads(text))
    return {PATH: page(*parts)}


def _section(name: str, schema: dict[str, Any]) -> list[str]:
    parts = [
        f"## {name.removesuffix('.json')}",
        f"{prose(schema['title'])}: [{name}](schemas/{name})",
    ]
    for form in schema.get("oneOf", [schema]):
        if form is not schema:
            parts.append(f"{prose(form['title'])}:")
        rows = [
            [code(key), prose(_kind(each)), prose(each.get("description", ""))]
            for key, each in form["properties"].items()
        ]
        parts.append(table(["key", "value", "meaning"], rows))
    return parts


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return ", ".join(json.dumps(each) for each in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].replace("_", " ")
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_kind(each) for each in schema.get("anyOf") or schema["oneOf"])
    kinds = schema.get("type", "any")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if kind == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}"
    return "time" if schema.get("format") == "date-time" else str(kind)
