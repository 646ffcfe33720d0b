"""Label selectors of the API (meta/v1 LabelSelector), read strictly."""

from __future__ import annotations

from cloche.model.labels import Operator, Requirement, Selector
from cloche.orchestrators.sandbox.fields import Field, did_you_mean, shorten
from cloche.orchestrators.sandbox.syntax import (
    LABEL_HINT,
    label_key_problem,
    label_value_problem,
    read_labels,
)

_OPERATORS = {operator.value: operator for operator in Operator}


def read_selector(field: Field) -> Selector:
    """A LabelSelector: matchLabels and matchExpressions, all of which must hold; empty selects everything."""
    field.strict(("matchLabels", "matchExpressions"))
    requirements = {
        Requirement(key, Operator.IN, (value,)) for key, value in read_labels(field.get("matchLabels"))
    }
    for expression in field.list_of("matchExpressions"):
        requirement = _read_requirement(expression)
        if requirement is not None:
            requirements.add(requirement)
    return Selector(tuple(sorted(requirements)))


def _read_requirement(field: Field) -> Requirement | None:
    if not field.strict(("key", "operator", "values")):
        return None
    key_field, operator_field = field.get("key"), field.get("operator")
    if key_field is None or operator_field is None:
        missing = "key" if key_field is None else "operator"
        field.error(f"{missing} is missing", "an expression is like {key: app, operator: In, values: [web]}")
        return None
    key, operator_text = key_field.text(), operator_field.text()
    values = _read_values(field)
    if key is None or operator_text is None or values is None:
        return None
    problem = label_key_problem(key)
    if problem:
        key_field.error(problem, LABEL_HINT)
    operator = _OPERATORS.get(operator_text)
    if operator is None:
        hint = did_you_mean(operator_text, _OPERATORS)
        operator_field.error(f"unknown operator {shorten(operator_text)!r}", hint)
        return None
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        field.error(f"{operator} needs values", "list at least one value")
    elif operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        field.error(f"{operator} takes no values", "remove values, or use In or NotIn")
    return Requirement(key, operator, values)


def _read_values(field: Field) -> tuple[str, ...] | None:
    values = set()
    fine = True
    for entry in field.list_of("values"):
        text = entry.text()
        problem = label_value_problem(text) if text is not None else ""
        if problem:
            entry.error(problem, LABEL_HINT)
        if text is None:
            fine = False
        else:
            values.add(text)
    return tuple(sorted(values)) if fine else None
