"""The reference tracker: what becomes of a packet in the light of those before it."""

from cloche.model.tracker.world import Place, PlaceKind, ServiceView, World

__all__ = ["Place", "PlaceKind", "ServiceView", "World"]
