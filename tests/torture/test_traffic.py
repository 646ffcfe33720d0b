"""The traffic itself notices what it is there to notice: else its silence would prove nothing."""

from __future__ import annotations

import time

from cloche.datapath import bpf, devices, namespaces, ownership
from cloche.datapath.maps import open_map
from cloche.datapath.pins import pin_directory
from cloche.model.address import parse_block
from e2e.agent_lab import Machine, ingress_from, objects, replace
from torture.census import census_of_kernel, leaked
from torture.killing import worlds
from torture.running import BASE, differences, ends, flowing, passers, ways
from torture.wire import Open


def test_what_is_lost_and_what_passes_is_counted(host: Machine) -> None:
    """A fault for each count: a policy that cuts the friend, one that lets the stranger in, a pod that is not
    isolated; and in a round without a fault nothing."""
    instance = host.instance()
    _first, second, coming = worlds(instance)
    with instance.start() as client:
        replace(client, BASE)
        where = ends(client)
        asked = Open(ways(instance, where), (passers(instance, "guest", where, coming),))
        with flowing(asked) as traffic:
            time.sleep(0.5)
            traffic.mark()
            client.delete(objects(ingress_from("lid", "web", "friend")))
            time.sleep(0.5)
            traffic.mark()
            replace(client, BASE)
            time.sleep(0.2)
            traffic.mark()
            client.apply(objects(ingress_from("lid", "web", "nobody")))
            time.sleep(0.5)
            traffic.mark()
            replace(client, second.replace("guard: shut}}, policyTypes", "guard: open}}, policyTypes"))
            time.sleep(0.5)
            totals = traffic.end()
    fine, let_in, _mended, cut, guests = totals.rounds
    assert fine.sent > 100 and fine.tried == fine.made > 10
    assert fine.forbidden > 100 and fine.lost == fine.arrived == 0
    assert let_in.arrived > 20 and let_in.lost == 0
    assert cut.lost > 20 and cut.made < cut.tried
    assert guests.arrived > 20
    assert any("guest" in what for what in totals.wrong) or len(totals.wrong) == 20


def test_what_is_left_over_is_counted(host: Machine) -> None:
    """A pin, a namespace and a route too many, and a table that is not what was wanted, are all seen."""
    instance = host.instance(look_seconds=0.0)
    name = instance.config.instance
    with instance.start() as client:
        replace(client, BASE)
        before = census_of_kernel(instance)
        assert differences(instance, client) == ()
        maps = pin_directory(name) / "maps"
        bpf.pin(bpf.get_pinned(str(maps / "flows")), str(maps / "flows_again"))
        ownership.create_namespace(name, f"{name}.default.more")
        route = parse_block("10.250.0.9/32")
        namespaces.call_in(instance.host, lambda: devices.add_route(route, name))
        found = leaked(census_of_kernel(instance), before)
        assert set(found.values()) == {1}
        assert {what.split()[0] for what in found} == {"pin", "namespace", "route"}
        links = open_map(str(maps / "links"))
        links.put((4242).to_bytes(4, "little"), (1).to_bytes(4, "little"))
        assert differences(instance, client) != ()
