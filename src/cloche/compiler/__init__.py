"""From a state to one host's tables, and from one state to the next by few, ordered writes. Pure."""

from cloche.compiler.compile import Change, Compiler, Counts, compile_full
from cloche.compiler.digest import digest

__all__ = ["Change", "Compiler", "Counts", "compile_full", "digest"]
