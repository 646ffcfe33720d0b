"""Whose place a new flow takes: only its owner's, and an open connection's last of all."""

from __future__ import annotations

from random import Random

import pytest
from program_lab import OUTSIDE4, QUOTA, SERVICE4, WEB, Lab, Pod, at_once

from cloche.datapath import layout
from cloche.datapath.events import read_flows
from cloche.datapath.layout import Age
from cloche.datapath.sweep import Attached, Sweeper
from cloche.datapath.testrun import SMALL
from cloche.model.address import parse_address
from cloche.model.flow import AGES_NS, SECOND
from cloche.model.topology import TCP, UDP
from cloche.tables.schema import Put
from frames import ACK, RST, SYN, Flow, tcp, udp

HOURS = AGES_NS[Age.TCP_OPEN] // SECOND  # type: ignore[index]
Entries = dict[layout.FlowKey, layout.Flow]


def entries(lab: Lab, owner: int = 0) -> Entries:
    """The flow table, or one owner's part of it."""
    found = read_flows(lab.engine.loaded.maps.flows)
    return {key: flow for key, flow in found if owner in (0, flow.owner)}


def is_open(lab: Lab, flow: layout.Flow) -> bool:
    """A live, open connection."""
    return flow.age == Age.TCP_OPEN and lab.now - flow.seen_ns < HOURS * SECOND


def connect(lab: Lab, port: int, pod: Pod | None = None) -> None:
    """An open connection from a pod (A) to B."""
    flow = Flow((pod or lab.a).four, lab.b.four, port, WEB)
    for sender, ends, flags in (
        (pod or lab.a, flow, SYN),
        (lab.b, flow.back(), SYN | ACK),
        (pod or lab.a, flow, ACK),
    ):
        lab.send(sender, tcp(ends, flags))


def ports(lab: Lab, *, only_open: bool = False) -> set[int]:
    """The ports from which A has flows."""
    found = entries(lab, lab.a.number)
    return {
        key.low_port if key.low == lab.a.four else key.high_port
        for key, flow in found.items()
        if not only_open or is_open(lab, flow)
    }


def lawful(lab: Lab, before: Entries, owner: int, quota: int) -> None:
    """Of what has gone all was the owner's, and an open one only where there was nothing else and no room."""
    gone = before.keys() - entries(lab).keys()
    mine = [flow for flow in before.values() if flow.owner == owner]
    for key in gone:
        assert before[key].owner == owner
        if is_open(lab, before[key]):
            assert len(mine) == quota
            assert all(is_open(lab, flow) for flow in mine)


@pytest.mark.parametrize("kind", ["half-open", "closing", "udp"])
@pytest.mark.parametrize("at", [0, 1, 31, QUOTA - 1])
def test_the_one_that_is_not_open_goes(lab: Lab, kind: str, at: int) -> None:
    """Wherever in the region it is: every open connection stays."""
    for number in range(QUOTA):
        port = 1000 + number
        if number != at or kind == "closing":
            connect(lab, port)
        elif kind == "half-open":
            lab.send(lab.a, tcp(Flow(lab.a.four, lab.b.four, port, WEB), SYN))
        else:
            lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, port, WEB)))
    if kind == "closing":
        lab.send(lab.a, tcp(Flow(lab.a.four, lab.b.four, 1000 + at, WEB), RST))
    connect(lab, 5000)
    assert ports(lab, only_open=True) == {1000 + n for n in range(QUOTA) if n != at} | {5000}


@pytest.mark.parametrize("at", [0, 40, QUOTA - 1])
@pytest.mark.parametrize("swept", [False, True])
def test_an_expired_connection_goes_before_a_live_one(lab: Lab, at: int, swept: bool) -> None:
    """Also when the agent has removed its entry, and again when the next one expires."""
    for number in range(QUOTA):
        connect(lab, 1000 + number)
    connected = set(range(1000, 1000 + QUOTA))
    for lost in (at, (at + 7) % QUOTA):
        lab.wait(HOURS - 10)
        for port in connected - {1000 + lost}:
            lab.send(lab.a, tcp(Flow(lab.a.four, lab.b.four, port, WEB), ACK))
        lab.wait(20)
        if swept:
            while not Sweeper(lab.engine.loaded.maps.flows).step(lab.now).ended:
                pass
        connect(lab, 5000 + lost)
        connected = connected - {1000 + lost} | {5000 + lost}
        assert ports(lab, only_open=True) == connected


@pytest.mark.parametrize("gone", ["opener", "receiver", "later"])
def test_flows_of_an_endpoint_that_is_gone_go(lab: Lab, gone: str) -> None:
    """Open as they are, whichever end it was; those of others stay, and of an endpoint that is newer than
    what is known nothing is believed."""
    connect(lab, 1000)
    connect(lab, 2000, lab.c)
    there = lab.engine.tables().endpoints
    a, b, c = (there[pod.number].incarnation for pod in (lab.a, lab.b, lab.c))
    left = {"opener": {b, c}, "receiver": {a, c}, "later": {b, c}}[gone]
    newest = a - 1 if gone == "later" else max(a, b, c)
    swept = Sweeper(lab.engine.loaded.maps.flows).step(lab.now, Attached(frozenset(left), newest))
    assert swept.removed == {"opener": 1, "receiver": 2, "later": 0}[gone]
    assert ports(lab) == (set() if swept.removed else {1000})


def test_full_of_open_connections_the_next_one_still_gets_a_place(lab: Lab) -> None:
    """One of its own goes for each, and others' flows stay."""
    connect(lab, 7, lab.c)
    for number in range(2 * QUOTA):
        before = entries(lab)
        connect(lab, 1000 + number)
        lawful(lab, before, lab.a.number, QUOTA)
        assert 1000 + number in ports(lab, only_open=True)
    assert len(entries(lab, lab.a.number)) == QUOTA
    assert len(entries(lab, lab.c.number)) == 1


def give_region(lab: Lab, pod: Pod, first: int, count: int) -> None:
    """Another region of slots for an endpoint."""
    entry = lab.engine.tables().endpoints[pod.number]._replace(slot_first=first, slot_count=count)
    lab.engine.write([Put("endpoints", pod.number, entry)])


@pytest.mark.parametrize("seed", range(4))
def test_every_victim_is_lawful(lab: Lab, seed: int) -> None:
    """Random histories of two neighbours whose regions begin and end within a word of bits."""
    draw = Random(seed)
    quotas = {lab.a: draw.choice((1, 20, 100, 150)), lab.c: 70}
    give_region(lab, lab.a, 4096 + 37, quotas[lab.a])
    give_region(lab, lab.c, 4096 + 37 + quotas[lab.a], 70)
    for number in range(500):
        pod, before = draw.choice((lab.a, lab.c)), entries(lab)
        flow = Flow(pod.four, lab.b.four, 1000 + number, WEB)
        kind = draw.random()
        if kind < 0.7:
            connect(lab, 1000 + number, pod)
        elif kind < 0.8:
            lab.send(pod, tcp(flow, SYN))
        elif kind < 0.9:
            lab.send(pod, udp(flow))
        else:
            lab.send(pod, tcp(flow._replace(source_port=1000 + draw.randrange(number + 1)), RST))
        if draw.random() < 0.01:
            lab.wait(draw.choice((31, 61, HOURS // 2)))
            continue
        lawful(lab, before, pod.number, quotas[pod])
        assert len(entries(lab, pod.number)) <= quotas[pod]


def test_stale_bits_are_mended(lab: Lab) -> None:
    """Whatever the bits say, what has a slot is known by its entry: ones for all, or zeros for all."""
    words = lab.engine.loaded.maps.flow_words
    for bits in (0xFFFFFFFFFFFFFFFF, 0):
        for number in range(QUOTA - 1):
            connect(lab, 1000 + number)
        lab.send(lab.a, tcp(Flow(lab.a.four, lab.b.four, 999, WEB), SYN))
        for key, _ in list(words.items()):
            words.put(key, layout.FlowWord(bits, 0, 0).pack())
        connect(lab, 5000)
        assert ports(lab, only_open=True) == {*range(1000, 1000 + QUOTA - 1), 5000}
        lab.engine.forget("flows")


def open_on_both(lab: Lab, first: int, end: int) -> None:
    """A flow of A from each of these ports, by two processes at once, in turns."""
    frames = [
        [udp(Flow(lab.a.four, lab.b.four, port, WEB), b"") for port in range(start, end, 2)]
        for start in (first, first + 1)
    ]

    def flood(which: int) -> None:
        for frame in frames[which]:
            lab.send(lab.a, frame)

    at_once(flood, 0, 1)


def test_two_processors_take_different_places(lab: Lab) -> None:
    """Flows opened on both at once: never more than the quota, each entry in a slot of its own."""
    open_on_both(lab, 2, 12000)
    found = entries(lab)
    slots = lab.engine.loaded.maps.flow_slots
    assert len(found) == QUOTA
    assert len({flow.slot for flow in found.values()}) == len(found)
    for key, flow in found.items():
        assert slots.get(flow.slot.to_bytes(4, "little")) == key.pack()
    for _, raw in lab.engine.loaded.maps.flow_words.items():
        assert layout.FlowWord.unpack(raw).claimed == 0


def test_flows_opened_on_two_processors_at_once_all_stay(lab: Lab) -> None:
    """Where the region has room, no flow that one processor opens makes room for another's."""
    give_region(lab, lab.a, 0, SMALL.flow_slots)
    open_on_both(lab, 1000, 13000)
    assert ports(lab) == set(range(1000, 13000))


def put_hand_back(lab: Lab) -> None:
    """Where it was before the last flow of A, as another processor may have read it."""
    owners, key = lab.engine.loaded.maps.owners, lab.a.number.to_bytes(4, "little")
    raw = owners.get(key)
    assert raw is not None
    owner = layout.Owner.unpack(raw)
    owners.put(key, owner._replace(hand=owner.hand - 1).pack())


def test_a_place_that_was_taken_just_now_is_passed_over(lab: Lab) -> None:
    """Whoever looks there a moment later takes the next one, which is free."""
    for number in range(6):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, 1000 + number, WEB)))
        put_hand_back(lab)
    assert ports(lab) == set(range(1000, 1006))


def test_of_those_that_give_way_one_opened_earlier_goes(lab: Lab) -> None:
    """In a full region a flow of just now stays where an older one is next to it."""
    for number in range(QUOTA):
        if number == 1:
            lab.wait(1)
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, 1000 + number, WEB)))
    lab.wait(1)
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, 3000, WEB)))
    put_hand_back(lab)
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, 3001, WEB)))
    assert ports(lab) == {1000 + n for n in range(2, QUOTA)} | {3000, 3001}


def fill_table(lab: Lab) -> Entries:
    """Entries of somebody else's until the whole table is full."""
    lab.send(lab.c, udp(Flow(lab.c.four, OUTSIDE4, 1, 1)))
    ((key, flow),) = entries(lab, lab.c.number).items()
    room = SMALL.flows - len(entries(lab))
    more = [(key._replace(network=2 + n), flow._replace(slot=60000, owner=60)) for n in range(room)]
    lab.engine.loaded.maps.flows.put_many([k.pack() for k, _ in more], [v.pack() for _, v in more])
    assert len(entries(lab)) == SMALL.flows
    return entries(lab, 60)


def test_the_whole_table_full(lab: Lab) -> None:
    """Who has flows that give way makes room with them, who has none is judged packet by packet."""
    connect(lab, 100)
    lab.send(lab.a, tcp(Flow(lab.a.four, lab.b.four, 101, WEB), SYN))
    others = fill_table(lab)
    connect(lab, 102)
    assert ports(lab, only_open=True) == {100, 102}
    assert ports(lab) == {100, 102}
    connect(lab, 103)
    assert ports(lab) == {100, 102}
    assert lab.word_of(lab.b, udp(Flow(lab.b.four, lab.a.four))) == "a"
    assert not entries(lab, lab.b.number)
    lab.serve(WEB, UDP, [(lab.a.four, WEB)])
    assert lab.word_of(lab.b, udp(Flow(lab.b.four, SERVICE4))) == "flow-table-full"
    assert entries(lab, 60).keys() == others.keys()


def test_a_translation_does_not_take_its_own_flows_place(lab: Lab) -> None:
    """Where all others are open, the one that is just opening is not what makes room for its second entry."""
    for number in range(QUOTA):
        connect(lab, 1000 + number)
    lab.serve(WEB, TCP, [(lab.b.four, 8080)])
    lab.send(lab.a, tcp(Flow(lab.a.four, SERVICE4), SYN))
    answer = lab.send(lab.b, tcp(Flow(lab.b.four, lab.a.four, 8080, 40000), SYN | ACK))
    assert answer.frame[26:30] == parse_address(SERVICE4)[12:]
    assert len(entries(lab, lab.a.number)) == QUOTA
