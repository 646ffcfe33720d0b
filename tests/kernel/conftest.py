"""What kernel tests need: root and BTF, or the reason why not; a host of their own; the program on frames."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pods import OpenHost
from program_lab import Lab, inside, make_devices

from cloche.datapath import devices, machine, namespaces
from cloche.datapath.removal import remove_instance
from cloche.datapath.testrun import Engine

BTF = Path("/sys/kernel/btf/vmlinux")
_counter = itertools.count()


@pytest.fixture(autouse=True, scope="session")
def this_machine() -> None:
    """Skip, with the reason that the machine shows, where it cannot run BPF."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    if not BTF.exists():
        pytest.skip(f"no BTF: {BTF} does not exist")
    machine.mount_bpffs()


@pytest.fixture
def private_host() -> Iterator[None]:
    """The test's thread in a network namespace of its own, as if that were a whole machine."""
    with namespaces.private_namespace():
        devices.set_up("lo")
        yield


@pytest.fixture
def instance(private_host: None) -> Iterator[str]:
    """An instance name that nobody else has; whatever is made under it is removed."""
    name = f"k{os.getpid() % 46656:x}{next(_counter) % 256:02x}"
    yield name
    remove_instance(name)


@pytest.fixture(scope="module")
def module_host(this_machine: None) -> Iterator[OpenHost]:
    """An instance with an uplink, made once for all tests of a module; see ``open_host``."""
    name = f"k{os.getpid() % 46656:x}{next(_counter) % 256:02x}"
    with namespaces.private_namespace():
        devices.set_up("lo")
        try:
            host = OpenHost(name)
            host.give_uplink()
            yield host
            host.datapath.close()
        finally:
            remove_instance(name)


@pytest.fixture
def open_host(module_host: OpenHost) -> OpenHost:
    """A host whose tables allow everything, no pods on it yet."""
    module_host.begin()
    return module_host


@pytest.fixture(scope="session")
def loaded_engine(this_machine: None) -> Iterator[Engine]:
    """The real program, loaded once; tests take ``engine``, which is as new for each of them."""
    made = Engine()
    yield made
    made.close()


@pytest.fixture
def engine(loaded_engine: Engine) -> Engine:
    """The real program on crafted frames, its maps empty and nobody else's."""
    loaded_engine.reset()
    return loaded_engine


@pytest.fixture(scope="session")
def lab_namespace(this_machine: None) -> Iterator[tuple[int, list[int]]]:
    """A namespace with devices for the lab, and their indexes."""
    namespace, indexes = make_devices(6)
    yield namespace, indexes
    os.close(namespace)


@pytest.fixture
def lab(engine: Engine, lab_namespace: tuple[int, list[int]]) -> Iterator[Lab]:
    """The small world of ``program_lab``, new for each test."""
    namespace, indexes = lab_namespace
    with inside(namespace):
        yield Lab(engine, indexes)
