"""What should be: the values that every orchestrator's objects become, and the oracle over them."""
