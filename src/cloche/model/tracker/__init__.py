"""The reference tracker: what becomes of a packet in the light of those before it."""

from cloche.model.tracker.entries import (
    Affinity,
    AffinityKey,
    Flow,
    FlowKey,
    FlowKind,
    FragmentKey,
    Fragments,
    Side,
    Tracker,
    Translation,
    flow_key,
)
from cloche.model.tracker.oracle import RESERVED, Lawful, OracleWorld, Reserved, lawful
from cloche.model.tracker.services import choose_backend
from cloche.model.tracker.step import step
from cloche.model.tracker.world import Place, PlaceKind, ServiceView, World

__all__ = [
    "RESERVED",
    "Affinity",
    "AffinityKey",
    "Flow",
    "FlowKey",
    "FlowKind",
    "FragmentKey",
    "Fragments",
    "Lawful",
    "OracleWorld",
    "Place",
    "PlaceKind",
    "Reserved",
    "ServiceView",
    "Side",
    "Tracker",
    "Translation",
    "World",
    "choose_backend",
    "flow_key",
    "lawful",
    "step",
]
