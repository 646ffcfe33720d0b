"""Cloche: a network for containers with security policy, judged in the kernel at the edge."""

__version__ = "0.1.0"
