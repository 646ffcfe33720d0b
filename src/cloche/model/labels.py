"""Labels and selectors, as the Kubernetes API has them (meta/v1 LabelSelector)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

Labels = tuple[tuple[str, str], ...]
"""Key-value pairs sorted by key, each key once."""

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"


def make_labels(mapping: Mapping[str, str]) -> Labels:
    """The canonical form of a mapping of labels."""
    return tuple(sorted(mapping.items()))


class Operator(StrEnum):
    """What a requirement asks of a key."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(msgspec.Struct, frozen=True, order=True):
    """One requirement; ``NotIn`` also matches where the key is absent, as the API says."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True when the labels meet the requirement."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


class Selector(msgspec.Struct, frozen=True, order=True):
    """All requirements together (sorted); none at all matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True when the labels meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)


EVERYTHING = Selector()


def match_labels(mapping: Mapping[str, str]) -> Selector:
    """The selector that asks for each of these labels."""
    return Selector(tuple(sorted(Requirement(k, Operator.IN, (v,)) for k, v in mapping.items())))
