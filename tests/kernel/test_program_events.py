"""What the program tells: events with who, what and why, their rate, counters by rule and by reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from program_lab import (
    ALT,
    ALT_ATOM,
    DENY,
    OUTSIDE4,
    SERVICE4,
    STACK,
    WEB,
    WEB_ATOM,
    Lab,
    allows,
)

from cloche.agent.naming import Directory
from cloche.agent.narrate import event_text
from cloche.datapath.events import Counter, EventReader, read_counters, read_reasons
from cloche.datapath.layout import Event, EventKind, Verdict
from cloche.datapath.settings import Settings
from cloche.model.address import parse_address
from cloche.model.policy import Direction
from cloche.model.reasons import Reason
from cloche.tables.schema import Cell, Remove
from frames import ACK, ARP, FIN, RST, SYN, TCP, UDP, Flow, Link, echo, ethernet, tcp, udp

EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS


@pytest.fixture
def reader(lab: Lab) -> Iterator[EventReader]:
    """Reads the lab's events."""
    made = EventReader(lab.engine.loaded.maps.events.fd)
    yield made
    made.close()


def only(reader: EventReader) -> Event:
    """The one event there is."""
    (event,) = reader.read()
    return event


def test_a_new_flow_is_told_once(lab: Lab, reader: EventReader) -> None:
    """With both sides, the rules that allowed it, classes and atom; its other packets are no news."""
    egress = lab.isolate(lab.a, EGRESS, allows((2, WEB_ATOM), rule=3))
    ingress = lab.isolate(lab.b, INGRESS, allows((1, WEB_ATOM), rule=4))
    for _ in range(3):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    event = only(reader)
    assert (event.kind, event.verdict, event.reason) == (EventKind.NEW, Verdict.ALLOW, 0)
    assert (event.time_ns, event.generation, event.network) == (lab.now, lab.generation, 1)
    assert (event.source, event.source_port, event.source_endpoint) == (lab.a.four, 40000, 1)
    assert (event.destination, event.destination_port, event.destination_endpoint) == (lab.b.four, WEB, 2)
    assert (event.protocol, event.atom, event.service_port) == (UDP, WEB_ATOM, 0)
    assert (event.egress_set, event.egress_rule, event.destination_class) == (egress, 3, 2)
    assert (event.ingress_set, event.ingress_rule, event.source_class) == (ingress, 4, 1)


@pytest.mark.parametrize("family", ["four", "six"])
def test_a_ping_is_told_by_its_type(lab: Lab, reader: EventReader, family: str) -> None:
    """Echo's type and code stand where the port does, whatever its identifier, which is the source port."""
    a, b = getattr(lab.a, family), getattr(lab.b, family)
    lab.send(lab.a, echo(Flow(a, b), identifier=0x0B05))
    event = only(reader)
    told = event_text(Directory(), event, 0)
    assert told.port == ("8/icmp" if family == "four" else "128/icmp6")
    assert (told.source_port, event.destination_port & 0xFF) == (0x0B05, 0)


def test_a_drop_says_why(lab: Lab, reader: EventReader) -> None:
    """Reason, set and rule of the denying side."""
    number = lab.isolate(lab.b, INGRESS, {(1, ALT_ATOM): Cell(DENY, rule=6)})
    lab.send(lab.a, tcp(Flow(lab.a.six, lab.b.six, 1, ALT)))
    event = only(reader)
    assert (event.kind, event.verdict, event.reason) == (EventKind.DROP, Verdict.DENY, Reason.INGRESS_DENIED)
    assert (event.ingress_set, event.ingress_rule, event.source_class) == (number, 6, 1)
    assert (event.source, event.destination) == (lab.a.six, lab.b.six)


def test_every_dropped_packet_is_told(lab: Lab, reader: EventReader) -> None:
    """Not only the first of a kind."""
    lab.isolate(lab.b, INGRESS, {})
    for _ in range(5):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    assert [event.reason for event in reader.read()] == [Reason.INGRESS_NOT_ALLOWED] * 5


def test_a_cut_flow_is_told_once_as_cut(lab: Lab, reader: EventReader) -> None:
    """And its packets as drops."""
    flow = Flow(lab.a.four, lab.b.four)
    lab.send(lab.a, udp(flow))
    lab.isolate(lab.b, INGRESS, {})
    lab.flip()
    lab.send(lab.b, udp(flow.back()))
    lab.send(lab.a, udp(flow))
    kinds = [EventKind(event.kind) for event in reader.read()]
    assert kinds == [EventKind.NEW, EventKind.CUT, EventKind.DROP, EventKind.DROP]


def test_the_end_of_a_connection_is_told(lab: Lab, reader: EventReader) -> None:
    """When both sides have said FIN."""
    flow = Flow(lab.a.four, lab.b.four)
    for pod, ends, flags in (
        (lab.a, flow, SYN),
        (lab.b, flow.back(), SYN | ACK),
        (lab.a, flow, FIN | ACK),
        (lab.b, flow.back(), FIN | ACK),
        (lab.a, flow, ACK),
    ):
        lab.send(pod, tcp(ends, flags))
    assert [EventKind(event.kind) for event in reader.read()] == [EventKind.NEW, EventKind.CLOSED]


@pytest.mark.parametrize("closes", ["opener", "receiver"])
def test_the_end_is_told_as_the_flow_was_opened(lab: Lab, reader: EventReader, closes: str) -> None:
    """Whoever sends the last packet, the end has the opener as source and the service in front."""
    lab.serve(WEB, TCP, [(lab.b.four, ALT)])
    there = Flow(lab.a.four, parse_address(SERVICE4))
    back = Flow(lab.b.four, lab.a.four, ALT, 40000)
    lab.send(lab.a, tcp(there, SYN))
    lab.send(lab.b, tcp(back, SYN | ACK))
    lab.send(lab.a, tcp(there, ACK))
    opened = only(reader)
    lab.send(*((lab.a, tcp(there, RST)) if closes == "opener" else (lab.b, tcp(back, RST))))
    closed = only(reader)
    assert (opened.kind, closed.kind) == (EventKind.NEW, EventKind.CLOSED)
    same = ("source", "source_port", "destination", "destination_port", "service_address", "service_port")
    same += ("source_endpoint", "destination_endpoint")
    assert [getattr(closed, name) for name in same] == [getattr(opened, name) for name in same]
    assert (closed.destination, closed.destination_port) == (lab.b.four, ALT)
    assert (closed.service_address, closed.service_port) == (parse_address(SERVICE4), WEB)


def test_a_ping_that_its_reply_cuts_is_told_as_a_ping(lab: Lab, reader: EventReader) -> None:
    """A flow judged again by its receiver's packet is told by the type that opened it, from its opener."""
    lab.send(lab.a, echo(Flow(lab.a.four, lab.b.four)))
    reader.read()
    lab.isolate(lab.b, INGRESS, {})
    lab.flip()
    lab.send(lab.b, echo(Flow(lab.b.four, lab.a.four), reply=True))
    cut = next(event for event in reader.read() if event.kind == EventKind.CUT)
    assert (cut.source, cut.destination) == (lab.a.four, lab.b.four)
    assert event_text(Directory(), cut, 0).port == "8/icmp"


def test_each_drop_of_a_cut_flow_names_its_rule(lab: Lab, reader: EventReader) -> None:
    """Not the first packet after the flip alone: later ones too say which set and rule deny."""
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    reader.read()
    ingress = lab.isolate(lab.b, INGRESS, {(1, WEB_ATOM): Cell(DENY, rule=7)})
    lab.flip()
    for _ in range(2):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    drops = [event for event in reader.read() if event.kind == EventKind.DROP]
    assert [(event.ingress_set, event.ingress_rule) for event in drops] == [(ingress, 7)] * 2


def test_a_spoof_from_outside_is_told_with_its_addresses(lab: Lab, reader: EventReader) -> None:
    """What an uplink brings under an endpoint's address: the event says which, and towards whom."""
    frame = ethernet(Link(bytes(6), bytes(6)), tcp(Flow(lab.a.four, parse_address(OUTSIDE4))))
    assert lab.engine.run("from_uplink", frame, lab.devices[0]).reason is Reason.SPOOFED_ADDRESS
    event = only(reader)
    assert (event.source, event.destination, event.protocol) == (lab.a.four, parse_address(OUTSIDE4), TCP)


def test_a_service_is_named(lab: Lab, reader: EventReader) -> None:
    """Its address and port beside the backend's."""
    lab.serve(WEB, TCP, [(lab.b.four, ALT)])
    lab.send(lab.a, tcp(Flow(lab.a.four, SERVICE4)))
    event = only(reader)
    assert (event.service_address, event.service_port) == (parse_address(SERVICE4), WEB)
    assert (event.destination, event.destination_port) == (lab.b.four, ALT)


def test_what_cannot_be_read_is_told_without_addresses(lab: Lab, reader: EventReader) -> None:
    """Nothing of an earlier packet shows in the event of one that was never parsed."""
    lab.send(lab.a, tcp(Flow(lab.a.four, lab.b.four)))
    lab.send_frame(lab.a, ethernet(Link(lab.b.mac, STACK.mac), bytes(60), ARP))
    _, event = reader.read()
    assert event.reason == Reason.SPOOFED_MAC
    assert (event.source, event.destination, event.source_port) == (bytes(16), bytes(16), 0)
    assert (event.source_endpoint, event.destination_endpoint, event.atom) == (1, 0, 0)


def test_a_packet_on_a_link_of_nobody_is_told_with_the_link(lab: Lab, reader: EventReader) -> None:
    """Nothing else of it is known; a packet that was read has no link."""
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    lab.engine.write([Remove("endpoints", lab.a.number), Remove("links", lab.a.ifindex)])
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    read, unread = reader.read()
    assert (read.link, unread.link) == (0, lab.a.ifindex)
    assert (unread.reason, unread.source, unread.protocol) == (Reason.UNKNOWN_LINK, bytes(16), 0)


def test_events_have_a_rate_per_endpoint(lab: Lab, reader: EventReader) -> None:
    """A burst, then so many a second; what was not sent is counted in the next that is."""
    lab.engine.configure(Settings(event_rate=2, event_burst=3), STACK)
    lab.isolate(lab.b, INGRESS, {})
    for _ in range(10):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    lab.send(lab.c, udp(Flow(lab.c.four, lab.b.four)))
    assert [(event.source_endpoint, event.suppressed) for event in reader.read()] == [(1, 0)] * 3 + [(3, 0)]
    lab.wait(0.4)
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    assert reader.read() == []
    lab.wait(0.101)
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    assert only(reader).suppressed == 8
    lab.wait(3600)
    for _ in range(5):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    assert [event.suppressed for event in reader.read()] == [0] * 3


def test_a_full_ring_is_counted(lab: Lab, reader: EventReader) -> None:
    """Events that find no room are counted as suppressed and told with the next."""
    lab.engine.configure(Settings(event_rate=1 << 19, event_burst=1 << 19), STACK)
    lab.isolate(lab.b, INGRESS, {})
    packet = udp(Flow(lab.a.four, lab.b.four))
    for _ in range(600):
        lab.send(lab.a, packet)
    told = len(reader.read())
    assert 0 < told < 600
    lab.send(lab.a, packet)
    assert only(reader).suppressed == 600 - told


def test_events_may_be_off(lab: Lab, reader: EventReader) -> None:
    """The configuration's flag silences them all."""
    lab.engine.configure(Settings(events=False), STACK)
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    assert reader.read() == []


def test_what_comes_from_outside_is_on_its_receivers_account(lab: Lab, reader: EventReader) -> None:
    """A flood from outside does not silence other endpoints."""
    lab.engine.configure(Settings(event_rate=1, event_burst=1), STACK)
    lab.isolate(lab.b, INGRESS, {})
    for _ in range(5):
        lab.send_stack(udp(Flow(OUTSIDE4, lab.b.four)))
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    assert [event.source_endpoint for event in reader.read()] == [0, 1]


def test_counters_count_new_flows_by_rule(lab: Lab) -> None:
    """Both sides' rules of an allowed flow, the deciding one of a denied packet; defaults under rule 0."""
    lab.isolate(lab.a, EGRESS, allows((2, WEB_ATOM), (2, ALT_ATOM), rule=3))
    number = lab.isolate(lab.b, INGRESS, {**allows((1, WEB_ATOM), rule=4), (1, ALT_ATOM): Cell(DENY, rule=5)})
    for by in range(3):
        for _ in range(2):
            lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, by + 1)))
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, 9, ALT)))
    lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four, 9, 999)))
    lab.send(lab.c, udp(Flow(lab.c.four, lab.b.four, 9, WEB)))
    assert read_counters(lab.engine.loaded.maps.counters) == {
        (number - 1) * 16 + 3: Counter(3, 0),
        (number - 1) * 16 + 0: Counter(0, 1),
        number * 16 + 4: Counter(3, 0),
        number * 16 + 5: Counter(0, 1),
        number * 16 + 0: Counter(0, 1),
    }


def test_reasons_count_every_packet(lab: Lab) -> None:
    """What passed and what was denied, by reason."""
    lab.isolate(lab.b, INGRESS, {})
    for _ in range(4):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.c.four)))
    for _ in range(2):
        lab.send(lab.a, udp(Flow(lab.a.four, lab.b.four)))
    lab.send(lab.d, udp(Flow(lab.d.four, lab.b.four)))
    counted = {
        reason: count for reason, count in read_reasons(lab.engine.loaded.maps.reasons).items() if count
    }
    assert counted == {Reason.NONE: 4, Reason.INGRESS_NOT_ALLOWED: 2, Reason.CLOSED: 1}
