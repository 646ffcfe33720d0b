"""The responder: one process that answers, asks and resolves names inside many network namespaces.

It stands for the processes that run in a sandbox's pods. It is not the agent: it is detached from it,
outlives it, and is adopted, with its connections, by the next one.
"""
