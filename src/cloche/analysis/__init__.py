"""Pure questions about a state: who can reach whom, and why."""

from cloche.analysis.explaining import explain_flow
from cloche.analysis.matrix import matrix
from cloche.analysis.results import FlowAnswer, FlowExplanation, Matrix, Pair

__all__ = ["FlowAnswer", "FlowExplanation", "Matrix", "Pair", "explain_flow", "matrix"]
