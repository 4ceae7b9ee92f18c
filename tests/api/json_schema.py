"""A small part of JSON Schema, as far as the service's description uses it: does a value fit, and values that do or nearly do."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


class Schemas:
    """The schemas of a description, which refer to each other by name."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named

    def problem(self, value: Any, schema: dict[str, Any], where: str = "$") -> str | None:
        """Why ``value`` does not fit ``schema``; None if it does."""
        if "$ref" in schema:
            return self.problem(value, self._named[schema["$ref"].rpartition("/")[2]], where)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                found = [self.problem(value, option, where) for option in schema[word]]
                if all(found):
                    return found[0]
        if "enum" in schema and value not in schema["enum"]:
            return f"{where}: {value!r} is not one of {schema['enum']}"
        if "const" in schema and value != schema["const"]:
            return f"{where}: {value!r} is not {schema['const']!r}"
        if "type" in schema:
            wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if not any(_is(value, name) for name in wanted):
                return f"{where}: {value!r} is not of type {wanted}"
        return self._object_problem(value, schema, where) or self._other_problem(value, schema, where)

    def _object_problem(self, value: Any, schema: dict[str, Any], where: str) -> str | None:
        if not isinstance(value, dict):
            return None
        known = schema.get("properties", {})
        missing = [name for name in schema.get("required", ()) if name not in value]
        if missing:
            return f"{where}: {missing[0]} is missing"
        rest = schema.get("additionalProperties", True)
        for name, inner in value.items():
            if name not in known and rest is False:
                return f"{where}: {name} is not known"
            there = known.get(name, rest if isinstance(rest, dict) else {})
            if problem := self.problem(inner, there, f"{where}.{name}"):
                return problem
        return None

    def _other_problem(self, value: Any, schema: dict[str, Any], where: str) -> str | None:
        if isinstance(value, list):
            prefix = schema.get("prefixItems", [])
            for number, inner in enumerate(value):
                if problem := self.problem(inner, prefix[number] if number < len(prefix) else schema.get("items", {}), f"{where}[{number}]"):
                    return problem
        if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
            return f"{where}: {value!r} does not match {schema['pattern']}"
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            return f"{where}: {value} is out of range"
        return None

    def values(self, schema: dict[str, Any], known: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
        """Values that fit ``schema`` in form; ``known``: values to try for members of these names."""
        known = known or {}
        if "$ref" in schema:
            return self.values(self._named[schema["$ref"].rpartition("/")[2]], known)
        options = schema.get("anyOf")
        if options:
            return st.one_of([self.values(option, known) for option in options])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            members = {
                name: st.sampled_from(known[name]) | self.values(inner, known) if name in known else self.values(inner, known)
                for name, inner in schema.get("properties", {}).items()
            }
            required = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: strategy for name, strategy in members.items() if name in required},
                optional={name: strategy for name, strategy in members.items() if name not in required},
            )
        if kind == "array":
            return st.lists(self.values(schema.get("items", {}), known), max_size=3)
        if kind == "integer":
            return st.integers(schema.get("minimum", -5), schema.get("maximum", 40))
        if kind == "number":
            return st.floats(schema.get("minimum", -2), schema.get("maximum", 2), allow_nan=False)
        simple: dict[str, st.SearchStrategy[Any]] = {"boolean": st.booleans(), "null": st.none(), "string": st.text(max_size=schema.get("maxLength", 12))}
        return simple.get(str(kind), ANYTHING)


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])
