"""Theirs to the model: each orchestrator's objects become model events; none knows the others."""
