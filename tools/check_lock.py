"""Says where requirements.lock lags behind pyproject.toml: what it lacks or holds in too old a version.

Whether it is the newest that there is is not asked: that would need an index. ``tools/lock`` writes it anew.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def wanted(project: str) -> list[Requirement]:
    """What the text of a pyproject.toml asks for: at run time, in every group, and to build."""
    told = tomllib.loads(project)
    groups = told.get("dependency-groups", {}).values()
    texts = [*told["project"].get("dependencies", ()), *(text for group in groups for text in group)]
    return [Requirement(text) for text in (*texts, *told["build-system"]["requires"])]


def pinned(lock: str) -> dict[str, str]:
    """Each library's version in the text of a requirements.lock."""
    return {canonicalize_name(name): version for name, version in PINNED.findall(lock)}


def lags(requirements: list[Requirement], versions: Mapping[str, str]) -> Iterator[str]:
    """What the lock does not hold as it should, in words."""
    for requirement in requirements:
        version = versions.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{requirement} is not in requirements.lock"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement} is asked for, and requirements.lock holds {version}"


def main() -> None:
    """Status 1 and a line for each library that lags."""
    lock = (ROOT / "requirements.lock").read_text()
    found = list(lags(wanted((ROOT / "pyproject.toml").read_text()), pinned(lock)))
    for line in found:
        print(f"{line}; run tools/lock", file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
