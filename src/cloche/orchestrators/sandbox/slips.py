"""What YAML's own parser refuses, said with the line and what is likely meant."""

from __future__ import annotations

import yaml

from cloche.errors import Finding


def _syntax_hint(error: yaml.MarkedYAMLError) -> str:
    """What is likely meant where YAML's own parser gives up."""
    said = f"{error.problem} {error.context}"
    if "flow mapping" in said or "flow sequence" in said:
        bracket, name = ("}", "{") if "mapping" in said else ("]", "[")
        return f"close the {name} with {bracket}, with commas between its entries"
    if "quoted scalar" in said:
        return "close the quotes"
    if "simple key" in said or "mapping values" in said:
        return "write name: value, each on a line of its own, and quote text that has a colon"
    if "block" in said:
        return "indent fields of one mapping alike, and entries of one list alike"
    if "token" in said or "indicator" in said:
        return "put text that begins with a sign such as @ ` % or * in quotes"
    return "see whether quotes, brackets and indentation are as they should be"


def not_yaml(error: yaml.MarkedYAMLError, text: str, file: str) -> Finding:
    """The finding for a text that YAML's parser gives up on: the line, what it says, and a hint."""
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    lines = text.rstrip().split("\n")
    line = min(mark.line + 1, len(lines)) if mark else 0
    shown = lines[line - 1] if line else ""
    if "{{" in shown:
        hint = "it looks like a template: render it first"
    elif "\t" in shown:
        hint = "indent with spaces, not tabs"
    else:
        hint = _syntax_hint(error)
    problem = " ".join(part for part in (error.problem, error.context) if part)
    if begun and begun.line + 1 < line:
        problem += f" begun on line {begun.line + 1}"
    return Finding(file, line, "", f"not YAML: {problem}", hint)
