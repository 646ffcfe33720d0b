"""How blocks cut a network's addresses, against each block peer asked about each address."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cloche.model.address import is_ipv4, parse_block
from cloche.model.policy import BlockPeer
from cloche.partition.blocks import Pieces

BLOCKS = tuple(
    parse_block(text)
    for text in ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.4/30", "10.0.0.7/32", "::/0", "fd00::/126")
)
ADDRESSES = tuple(end for block in BLOCKS for end in (block.first(), block.last()))
ALL, TEN, SMALL = BLOCKS[0], BLOCKS[1], BLOCKS[3]

peers = st.builds(
    lambda block, cuts: BlockPeer(block, tuple(cut for cut in cuts if block.covers(cut) and cut != block)),
    st.sampled_from(BLOCKS),
    st.lists(st.sampled_from(BLOCKS), max_size=2, unique=True),
)


def holds(peer: BlockPeer, address: bytes) -> bool:
    """What the peer itself says."""
    return peer.contains(address)  # type: ignore[arg-type]


@given(st.lists(peers, max_size=5), st.lists(st.booleans(), min_size=5, max_size=5))
@example([BlockPeer(ALL), BlockPeer(SMALL)], [True] * 5)
@example([BlockPeer(ALL, (TEN,)), BlockPeer(SMALL)], [True] * 5)
def test_an_address_is_in_the_piece_of_all_who_hold_it(found: list[BlockPeer], kept: list[bool]) -> None:
    """In whatever order peers come and go, a piece is matched by those that hold it."""
    pieces = Pieces()
    for number, peer in enumerate(found):
        pieces.add(number, peer)
    for number, peer in enumerate(found):
        if not kept[number]:
            pieces.remove(number, peer)
    for address in ADDRESSES:
        expected = {n for n, peer in enumerate(found) if kept[n] and holds(peer, address)}
        assert pieces.find(address).matched == expected


@given(st.lists(peers, max_size=5))
def test_what_is_given_back_is_gone(found: list[BlockPeer]) -> None:
    """After as many removals as additions only the two roots are left, matched by nobody."""
    pieces = Pieces()
    for number, peer in enumerate(found):
        pieces.add(number, peer)
    for number, peer in enumerate(found):
        pieces.remove(number, peer)
    assert len(pieces.pieces) == 2
    assert not any(piece.matched for piece in pieces.pieces.values())
    assert {is_ipv4(block.address) for block in pieces.pieces} == {True, False}
