"""Fronts: what the program finds there is what it would find in services, whatever was written before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from random import Random

import msgspec
import pytest
from program_lab import ALT, NETWORK, SERVICE4, SERVICE6, WEB, Lab, delivered, inside

from cloche.datapath import encode
from cloche.datapath.fronts import Fronts
from cloche.datapath.layout import FRONT_BACKENDS, FRONT_SIZE, FRONT_TRIES, Front, FrontState
from cloche.datapath.reconcile import Writer
from cloche.datapath.testrun import SMALL, Engine
from cloche.model.address import Address, is_ipv4, parse_address
from cloche.tables.fronts import front_of
from cloche.tables.schema import (
    AddressFlag,
    AddressKey,
    BackendEntry,
    Put,
    Remove,
    ServiceEntry,
    ServiceKey,
    Write,
)
from frames import TCP, UDP, Flow, hop_less, tcp, udp

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def key(ipv6: bool = False, port: int = WEB, protocol: int = UDP) -> ServiceKey:
    """The lab's service of a family."""
    return ServiceKey(NETWORK, parse_address(SERVICE6 if ipv6 else SERVICE4), port, protocol)


def ask(lab: Lab, at: Address, port: int = WEB, by: int = 40000) -> str:
    """What becomes of a datagram from A."""
    return lab.word_of(lab.a, udp(Flow(lab.a.address(not is_ipv4(at)), at, by, port)))


def place_of(lab: Lab, service: ServiceKey) -> int:
    """Where a service's front is."""
    place = Fronts(lab.engine.loaded.maps).find(service)
    assert place is not None
    return place


def alter(lab: Lab, place: int, **fields: object) -> None:
    """Other words in a front, without the writer's care."""
    memory = lab.engine.loaded.maps.fronts.mapped()
    at = place * FRONT_SIZE
    front = Front.unpack(bytes(memory[at : at + FRONT_SIZE]))
    memory[at : at + FRONT_SIZE] = front._replace(**fields).pack()  # type: ignore[arg-type]


def forget_service(lab: Lab, service: ServiceKey) -> None:
    """Services alone no longer has it."""
    assert lab.engine.loaded.maps.services.remove(encode.HASHES["services"].key(service))


@FAMILIES
def test_a_front_answers_without_the_other_maps(lab: Lab, ipv6: bool) -> None:
    """With entry and backends gone from their maps the front alone leads to the backend, port and all."""
    lab.serve(WEB, UDP, [(lab.b.address(ipv6), ALT)])
    forget_service(lab, key(ipv6))
    lab.engine.write([Remove("backends", 32)])
    flow = Flow(lab.a.address(ipv6), key(ipv6).address, 40000, WEB)
    towards = flow._replace(destination=lab.b.address(ipv6), destination_port=ALT)
    assert delivered(lab.send(lab.a, udp(flow)), lab.b) == hop_less(udp(towards))


@FAMILIES
def test_each_backend_is_the_one_of_its_place(lab: Lab, ipv6: bool) -> None:
    """Of seven backends, some in the front and some behind it, a packet gets the one that its hash names."""
    lab.serve(WEB, UDP, [(lab.b.address(ipv6), 8000 + n) for n in range(7)])
    seen = set()
    for by in range(1024, 1124):
        flow = Flow(lab.a.address(ipv6), key(ipv6).address, by, WEB)
        result = lab.send(lab.a, udp(flow))
        assert result.backend is not None
        port = 8000 + result.backend - 32
        towards = flow._replace(destination=lab.b.address(ipv6), destination_port=port)
        assert delivered(result, lab.b) == hop_less(udp(towards))
        seen.add(port)
    assert seen == set(range(8000, 8007))


@pytest.mark.parametrize("state", [FrontState.BUSY, FrontState.HIDDEN, FrontState.GONE, FrontState.EMPTY])
def test_only_an_open_front_counts(lab: Lab, state: FrontState) -> None:
    """One that is being written, hidden or given up says nothing: the entry in services does."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    place = place_of(lab, key())
    alter(lab, place, addresses=lab.c.four * FRONT_BACKENDS)
    assert ask(lab, key().address) == "c"
    alter(lab, place, word=8 | state)
    assert ask(lab, key().address, by=40001) == "b"


def test_a_front_is_of_its_port_protocol_network_and_address(lab: Lab) -> None:
    """Each part of a front's key that is another makes it another service's."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    place = place_of(lab, key())
    forget_service(lab, key())
    for wrong in ({"port": ALT}, {"protocol": TCP}, {"network": NETWORK + 1}, {"address": lab.c.four}):
        right = {name: getattr(key(), name) for name in wrong}
        alter(lab, place, **wrong)
        assert ask(lab, key().address) == "no-service"
        alter(lab, place, **right)
        assert ask(lab, key().address) == "b"
    assert lab.word_of(lab.a, tcp(Flow(lab.a.four, key().address, 40000, WEB))) == "no-service"


def test_an_address_that_is_an_endpoints_has_no_fronts(lab: Lab) -> None:
    """Whose an address is counts from the one write of its entry on, and back."""
    lab.serve(WEB, UDP, [(lab.b.four, ALT)])
    at = AddressKey(NETWORK, key().address)
    served = lab.address(at.address, flags=AddressFlag.SERVICE)
    assert ask(lab, at.address) == "b"
    lab.engine.write([lab.address(at.address, 3)])
    assert ask(lab, at.address, by=40001) == "c"
    lab.engine.write([served])
    assert ask(lab, at.address, by=40002) == "b"
    lab.engine.write([Remove("addresses", at)])
    assert ask(lab, at.address, by=40003) not in ("b", "c")
    lab.engine.write([Remove("services", key()), served])
    assert ask(lab, at.address, by=40004) == "no-service"


def test_more_services_than_there_is_room_for(lab: Lab) -> None:
    """An address with many ports has fronts for some, and all of them lead to their backends."""
    ports = range(8000, 8000 + 3 * FRONT_TRIES)
    for number, port in enumerate(ports):
        lab.serve(port, UDP, [(lab.b.four, port + 1000)], number=number + 1, first=number)
    fronts = Fronts(lab.engine.loaded.maps)
    assert len(fronts.used()) == FRONT_TRIES
    assert [ask(lab, key().address, port) for port in ports] == ["b"] * len(ports)
    lab.engine.write([Remove("services", key(port=8000))])
    assert ask(lab, key().address, 8000, 40001) == "no-service"
    assert ask(lab, key().address, 8001, 40001) == "b"


@pytest.fixture(scope="module")
def narrow(this_machine: None) -> Iterator[Engine]:
    """A program with room for so few fronts that they stand in each other's way."""
    made = Engine(msgspec.structs.replace(SMALL, services=6))
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(6))
def test_any_writes_give_what_services_give(
    narrow: Engine, lab_namespace: tuple[int, list[int]], seed: int
) -> None:
    """Services that come, change and go, at addresses that are now theirs and now a pod's, in a table where
    fronts crowd and wrap around: each packet goes where the entries say, and each front says what they do."""
    namespace, indexes = lab_namespace
    narrow.reset()
    with inside(namespace):
        lab = Lab(narrow, indexes)
        draw = Random(seed)
        town = Town(lab, draw)
        for _ in range(150):
            lab.engine.write(town.change())
            town.check()


class Town:
    """Some services at some addresses, and what packets to them must come to."""

    def __init__(self, lab: Lab, draw: Random) -> None:
        self.lab, self.draw = lab, draw
        self.served = {parse_address(f"10.96.0.{n}"): True for n in range(1, 7)}
        self.pods: dict[ServiceKey, str] = {}
        self.numbers = self.asked = 0
        lab.engine.write([lab.address(at, flags=AddressFlag.SERVICE) for at in self.served])

    def change(self) -> list[Write]:
        """Something else from now on."""
        at, port = self.draw.choice(list(self.served)), self.draw.choice((80, 81))
        service = ServiceKey(NETWORK, at, port, UDP)
        what = self.draw.randrange(4)
        if what == 0:
            self.served[at] = not self.served[at]
            entry = self.lab.address(at, flags=AddressFlag.SERVICE)
            return [entry if self.served[at] else self.lab.address(at, 3)]
        if what == 1 or (service not in self.pods and len(self.pods) == 6):
            self.pods.pop(service, None)
            return [Remove("services", service)]
        self.pods[service] = self.draw.choice("bc")
        return self._put(service, {"b": self.lab.b.four, "c": self.lab.c.four}[self.pods[service]])

    def _put(self, service: ServiceKey, to: Address) -> list[Write]:
        """A list of the service's own that begins where none has been for long."""
        self.numbers += 1
        first, count = self.numbers % 200 * 8, self.draw.randint(1, 7)
        places = range(first, first + count)
        return [
            *(Put("backends", n, BackendEntry(to, 9000 + n - first, self.numbers)) for n in places),
            Put("services", service, ServiceEntry(self.numbers, first, count, 1, 0)),
        ]

    def check(self) -> None:
        """Packets to every address and port, and the fronts by themselves."""
        for at, served in self.served.items():
            for port in (80, 81):
                wanted = self.pods.get(ServiceKey(NETWORK, at, port, UDP), "no-service") if served else "c"
                self.asked += 1
                assert ask(self.lab, at, port, 1024 + self.asked) == wanted
        tables, fronts = self.lab.engine.tables(), Fronts(self.lab.engine.loaded.maps)
        assert all(front == front_of(tables, front.key) for front in tables.fronts.values())
        assert len({front.key for front in tables.fronts.values()}) == len(tables.fronts)
        assert sum(fronts.true_counts().values()) == len(tables.fronts)
        assert all(fronts.is_counted(front.key) for front in tables.fronts.values())


def test_no_packet_sees_half_a_front(lab: Lab) -> None:
    """While a service's list is written again and again, each packet goes to a backend of one of them."""
    lists = [(lab.b.four, 1001)] * 3, [(lab.c.four, 2002)] * 5
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            lab.serve(WEB, UDP, list(lists[number % 2]), first=64 * (number % 2), epoch=number)

    lab.serve(WEB, UDP, list(lists[0]), first=0)
    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for by in range(1024, 1024 + 4000):
            result = lab.send(lab.a, udp(Flow(lab.a.four, key().address, by, WEB)))
            port = int.from_bytes(result.frame[36:38], "big")
            seen.add((result.endpoint, port))
    finally:
        ended.set()
        writer.join()
    assert seen == {(2, 1001), (3, 2002)}


def test_a_start_settles_what_was_left(lab: Lab) -> None:
    """Fronts that are missing, half written, twice there or nobody's are put right, their count too."""
    for port in (80, 81, 82):
        lab.serve(port, UDP, [(lab.b.four, ALT)], number=port, first=port)
    maps, wanted = lab.engine.loaded.maps, lab.engine.tables()
    fronts = Fronts(maps)
    alter(lab, place_of(lab, key(port=80)), word=8 | FrontState.BUSY)
    fronts.remove(key(port=81))
    free = next(n for n in range(fronts.places) if not fronts.is_used(n))
    alter(lab, free, word=8 | FrontState.OPEN, port=82, protocol=UDP, network=NETWORK, address=key().address)
    maps.front_blocks.mapped()[:] = bytes(len(maps.front_blocks.mapped()))
    Writer(maps).settle(wanted)
    held = lab.engine.tables()
    assert sorted(held.fronts.values()) == sorted(wanted.fronts.values())
    for port in (80, 81, 82):
        forget_service(lab, key(port=port))
        assert ask(lab, key().address, port, 40000 + port) == "b"
