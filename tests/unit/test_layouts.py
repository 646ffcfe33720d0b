"""Two layouts of the maps: told apart, and converted by the names of fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.datapath.btf import Member, Scalar, StructType
from cloche.datapath.layouts import Converter, is_changed, places, runs
from cloche.errors import MachineError

SIZES = (1, 2, 4, 8)


def struct_of(*fields: tuple[str, int, int], name: str = "thing") -> StructType:
    """A struct of fields (name, element size, how many; 0: a number), one after another without padding."""
    members, at = [], 0
    for field, size, length in fields:
        members.append(Member(field, at, Scalar(size, False), length))
        at += size * max(length, 1)
    return StructType(name, at, tuple(members))


OLD = struct_of(("a", 4, 0), ("b", 8, 0), ("mac", 1, 6), ("pad", 2, 0))
NEW = struct_of(("added", 4, 0), ("mac", 1, 6), ("pad", 1, 0), ("b", 8, 0), ("a", 8, 0))


def convert(old: StructType, new: StructType, raw: bytes) -> bytes:
    """The value in the other layout."""
    return Converter("thing", {"thing": old}, {"thing": new}, len(raw))(raw)


def test_fields_keep_their_values_by_name() -> None:
    """What both name is carried over, also into a wider number; what is new is zero; padding is nothing."""
    raw = b"AAAA" + b"BBBBBBBB" + b"macmac" + b"!!"
    assert convert(OLD, NEW, raw) == bytes(4) + b"macmac" + bytes(1) + b"BBBBBBBB" + b"AAAA" + bytes(4)
    assert convert(NEW, OLD, convert(OLD, NEW, raw)) == raw[:-2] + bytes(2)


def test_places_are_what_the_converter_does() -> None:
    """The program's table of places, applied byte by byte, gives what user space's converter gives."""
    raw = bytes(range(1, OLD.size + 1))
    by_places = bytes(raw[place - 1] if place else 0 for place in places(OLD, NEW))
    assert by_places == convert(OLD, NEW, raw)


def test_padding_does_not_make_another_layout() -> None:
    """Only size and fields that mean something count; a moved field does."""
    padded = struct_of(("a", 4, 0), ("b", 8, 0), ("mac", 1, 6), ("pad1", 1, 2))
    moved = struct_of(("b", 8, 0), ("a", 4, 0), ("mac", 1, 6), ("pad", 2, 0))
    assert not is_changed("sets", {"set": OLD}, {"set": padded})
    assert is_changed("sets", {"set": OLD}, {"set": moved})


def test_a_field_of_another_kind_is_refused() -> None:
    """A number that became an array under the same name cannot be carried over, and the field is named."""
    with pytest.raises(MachineError, match=r"thing\.mac is of another kind"):
        runs(OLD, struct_of(("mac", 8, 0)))


def test_a_struct_that_is_not_known_stays_as_it_is() -> None:
    """Where the kernel has no types of a map its bytes are kept."""
    assert Converter("", {}, {}, 4)(b"keep") == b"keep"


@st.composite
def layouts(draw: st.DrawFn) -> tuple[StructType, StructType]:
    """A layout, and another with the same fields in another order and more between them."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    fields = [(n, draw(st.sampled_from(SIZES)), draw(st.integers(0, 4))) for n in names]
    more = [(f"more{i}", draw(st.sampled_from(SIZES)), 0) for i in range(draw(st.integers(0, 3)))]
    return struct_of(*fields), struct_of(*draw(st.permutations(fields + more)))


@given(layouts(), st.data())
def test_up_and_down_again_changes_nothing(both: tuple[StructType, StructType], data: st.DataObject) -> None:
    """However fields are moved and others added, a value comes back from the other layout as it was."""
    old, new = both
    raw = data.draw(st.binary(min_size=old.size, max_size=old.size))
    assert convert(new, old, convert(old, new, raw)) == raw
