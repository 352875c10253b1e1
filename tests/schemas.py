"""Checks JSON output against the schemas that the package ships, more strictly than they say.

A consumer must accept keys it does not know; here an undocumented key is an error.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker


def load(name: str) -> Any:
    """``schemas/<name>.json``."""
    text = resources.files("argus_maint").joinpath(f"schemas/{name}.json").read_text("utf-8")
    return json.loads(text)


def validate(name: str, value: Any) -> None:
    """Raise where ``value`` is not what ``schemas/<name>.json`` documents."""
    schema = _strict(load(name))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _strict(each) for key, each in node.items()}
    return {"additionalProperties": False, **node} if node.get("type") == "object" else node
