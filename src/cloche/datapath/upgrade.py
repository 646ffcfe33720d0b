"""Takes an instance from one layout of the maps to another, up or down, while packets pass.

docs/design/upgrades.md tells the steps. What is to take over is made beside what is there, in ``next/``, and
waits behind a gate on every device; one store opens the gate. Killed before it, the next start takes away
what was made; killed after it, the next start goes on. Everything that is needed for that is pinned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cloche.datapath import bpf, hooks, layouts
from cloche.datapath.btf import Btf, StructType, read_elf
from cloche.datapath.layouts import STRUCTS, Converter, Structs
from cloche.datapath.loader import capacity_of, load
from cloche.datapath.maps import F_MMAPABLE, Map, MapInfo, MapType, create_map, open_map
from cloche.datapath.pins import NEXT, Maps, pin_directory, sweep, unmark
from cloche.errors import MachineError

GATED = ("from_endpoint", "from_stack")
"""The programs that judge by flows; the others are swapped one by one."""
_KEPT = ("counters", "reasons")
"""Maps whose layout never changes: programs of both layouts count in them until the last one is gone."""
_LATE = ("flows", "affinity", "fragments")
"""What programs write, so that it is carried over once those of the old layout are gone."""
_EARLY = frozenset(STRUCTS) - {*_LATE, *_KEPT, "flow_slots", "fragment_slots", "owners", "events"}
_OPEN = (1).to_bytes(4, "little")
_AHEAD = 256
"""So many flows an endpoint may open between ``_carry_owners`` and the gate without losing one of them."""


def passing(step: str) -> None:
    """Called between the steps, with the name of the next one, for who wants to see or stop them."""


def object_structs(path: Path) -> Structs:
    """The structs that an object file's maps are made of."""
    return Btf(read_elf(path.read_bytes()).sections[".BTF"]).structs(layouts.NAMES)


def is_needed(path: Path, maps: Mapping[str, Map]) -> bool:
    """True when the object lays out one of these pinned maps otherwise, or has one that is not there."""
    return bool(_changed(maps, object_structs(path)))


def _changed(maps: Mapping[str, Map], new: Structs) -> set[str]:
    return {
        name for name in Maps._fields if name not in maps or layouts.is_changed(name, _structs_of(maps), new)
    }


def _structs_of(maps: Mapping[str, Map]) -> Structs:
    return layouts.kernel_structs(maps["flows"]) if "flows" in maps else {}


def move(instance: str, path: Path, maps: Mapping[str, Map]) -> None:
    """Let the object's programs and layout take over from those of the pinned ``maps``, which stay as they
    are. The programs that run afterwards still know the old flow table and are to be replaced by plain ones.

    MachineError when the layouts have nothing in common or the kernel refuses; then nothing has changed.
    """
    gate = create_map(MapInfo(int(MapType.ARRAY), 0, 4, 4, 1, F_MMAPABLE, "gate"))
    word = gate.mapped()
    try:
        _prepare(instance, path, maps, gate)
        passing("open the gate")
        _carry_owners(pin_directory(instance))
    except BaseException:
        _undo(instance)
        raise
    word[: len(_OPEN)] = _OPEN
    word.release()
    gate.close()
    _finish(instance)


def _prepare(instance: str, path: Path, maps: Mapping[str, Map], gate: Map) -> None:
    directory = pin_directory(instance)
    old, new = _structs_of(maps), object_structs(path)
    changed = _changed(maps, new)
    if changed & set(_KEPT):
        raise MachineError(f"{', '.join(sorted(changed & set(_KEPT)))}: another layout of what is counted")
    reused = {name: handle for name, handle in maps.items() if name in Maps._fields and name not in changed}
    constants: dict[str, int] = {}
    if "flows" in changed and "flows" in maps:
        reused["old_flows"] = maps["flows"]
        constants |= _flow_constants(old, new)
    for part in ("maps", "programs", "links"):
        (directory / NEXT / part).mkdir(parents=True, exist_ok=True)
    passing("load")
    loaded = load(path, capacity_of(maps), reused, constants)
    made = {name: handle for name, handle in loaded.maps._asdict().items() if name in changed}
    passing("fill")
    for name in changed & _EARLY & set(maps):
        _copy(name, maps[name], made[name], old, new)
    passing("pin")
    bpf.pin(gate.fd, str(directory / NEXT / "gate"))
    for name, handle in made.items():
        bpf.pin(handle.fd, str(directory / NEXT / "maps" / name))
    for name, fd in loaded.programs._asdict().items():
        bpf.pin(fd, str(directory / NEXT / "programs" / name))
    passing("attach")
    _stage(instance, path, {**reused, **made, "gate": gate}, constants)
    loaded.maps.close()
    loaded.programs.close()


def _stage(instance: str, path: Path, maps: Mapping[str, Map], constants: Mapping[str, int]) -> None:
    """Programs of their own behind the gate, as a device has room for a program only once."""
    loaded = load(path, capacity_of(maps), maps, {**constants, "has_gate": 1})
    hooks.stage(instance, {name: fd for name, fd in loaded.programs._asdict().items() if name in GATED})
    loaded.maps.close()
    loaded.programs.close()


def _flow_constants(old: Structs, new: Structs) -> dict[str, int]:
    """How the program makes an old key of its own, and its own flow of an old one."""
    key, value = layouts.places(new["flow_key"], old["flow_key"]), layouts.places(old["flow"], new["flow"])
    return {
        "has_old_flows": 1,
        "old_flow_size": old["flow"].size,
        "old_key_from": int.from_bytes(key, "little"),
        "flow_from": int.from_bytes(value, "little"),
    }


def _copy(name: str, before: Map, after: Map, old: Structs, new: Structs) -> None:
    """Carry a map's entries over; of a hash those that are not there yet, of an array those not zero."""
    key_name, value_name = STRUCTS[name]
    key = Converter(key_name, old, new, before.info.key_size)
    value = Converter(value_name, old, new, before.info.value_size)
    for raw_key, raw in before.items():
        if before.info.type == MapType.ARRAY:
            if any(raw):
                after.put(raw_key, value(raw))
        else:
            after.put_new(key(raw_key), value(raw))


def _carry_owners(directory: Path) -> None:
    """What programs know of each endpoint, as the last thing before the gate: its next flow is to look for a
    place behind those that it has opened by then, which would else be the first to go. Who is just claiming
    one of the old fragment slots claims none of the new ones."""
    pair = _pair(directory, "owners")
    if pair is None:
        return
    before, after = pair
    new = layouts.kernel_structs(after)
    convert = Converter("owner", layouts.kernel_structs(before), new, before.info.value_size)
    hand, claims = _field(new["owner"], "hand"), _field(new["owner"], "claims")
    for key, raw in before.items():
        if any(raw):
            value = bytearray(convert(raw))
            ahead = int.from_bytes(value[hand], "little") + _AHEAD
            value[hand] = ahead.to_bytes(8, "little")[: len(value[hand])]
            value[claims] = bytes(len(value[claims]))
            after.put(key, bytes(value))
    before.close()
    after.close()


def _pair(directory: Path, name: str) -> tuple[Map, Map] | None:
    """The map of the layout before and the one that is to take its place; None where it stays."""
    pin, there = directory / NEXT / "maps" / name, directory / "maps" / name
    return (open_map(str(there)), open_map(str(pin))) if pin.exists() and there.exists() else None


def _field(kind: StructType, name: str) -> slice:
    """Where a scalar is in a struct's bytes; an empty place where the struct has none of that name."""
    found = (slice(m.offset, m.offset + m.element.size) for m in kind.members if m.name == name)
    return next(found, slice(0, 0))


def recover(instance: str) -> None:
    """Finish or undo what a start that was killed had begun; nothing when there is nothing."""
    gate = pin_directory(instance) / NEXT / "gate"
    if not gate.parent.is_dir():
        return
    handle = open_map(str(gate)) if gate.exists() else None
    is_open = handle is not None and handle.get(bytes(4)) == _OPEN
    if handle is not None:
        handle.close()
    if is_open:
        _finish(instance)
    else:
        _undo(instance)


def _undo(instance: str) -> None:
    hooks.unstage(instance)
    sweep(pin_directory(instance) / NEXT)


def _finish(instance: str) -> None:
    """From the open gate on. Done again from any place it gives the same."""
    directory = pin_directory(instance)
    passing("wait")
    bpf.wait_grace()
    passing("move flows")
    _carry_late(directory)
    passing("swap")
    for pin in sorted((directory / NEXT / "programs").iterdir()):
        fd = bpf.get_pinned(str(pin))
        hooks.swap(instance, pin.name, fd)
        os.close(fd)
    passing("detach")
    hooks.unstage(instance)
    unmark(directory)
    for part in ("programs", "maps"):
        for pin in sorted((directory / NEXT / part).iterdir()):
            passing(f"rename {pin.name}")
            pin.rename(directory / part / pin.name)
    passing("sweep")
    sweep(directory / NEXT)


def _carry_late(directory: Path) -> None:
    """Flows and what else the old programs wrote until they were gone."""
    for name in _LATE:
        pair = _pair(directory, name)
        if pair is None:
            continue
        before, after = pair
        old, new = layouts.kernel_structs(before), layouts.kernel_structs(after)
        _copy(name, before, after, old, new)
        slots = directory / NEXT / "maps" / "flow_slots"
        if name == "flows" and slots.exists():
            _fill_slots(open_map(str(slots)), after, new)
        before.close()
        after.close()


def _fill_slots(slots: Map, flows: Map, new: Structs) -> None:
    """Tell each slot which flow is in it, by the number that the flow has kept."""
    slot = _field(new["flow"], "slot")
    for key, value in flows.items():
        if int.from_bytes(value[slot], "little") < slots.info.max_entries:
            slots.put(value[slot], key)
    slots.close()
