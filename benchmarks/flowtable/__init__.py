"""Which structure the flow table should have: candidates measured by test runs of small BPF programs."""
