"""What the agent keeps on disk survives, and is not believed when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloche.agent.disk import Attached, DamagedError, Disk, Ledger, write_whole
from cloche.config import Config
from cloche.model.address import parse_address
from cloche.model.topology import Attachment

LINK = Attachment("a/b", 3, 7, 12, b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")
LEDGER = Ledger((Attached(LINK, (parse_address("10.0.0.1"),)),), 7, 1 << 40)


def disk_in(folder: Path) -> Disk:
    return Disk(Config(instance="unit", root=str(folder)))


def test_ledger_and_config_come_back_as_they_were(tmp_path: Path) -> None:
    """A second agent reads exactly what the first one saved, 64-bit generations included."""
    disk_in(tmp_path).save_ledger(LEDGER)
    config = Config(instance="unit", flow_history=9)
    disk_in(tmp_path).save_config(config)
    assert disk_in(tmp_path).load_ledger() == LEDGER
    assert disk_in(tmp_path).load_config() == config


def test_what_was_not_written_to_its_end_goes(tmp_path: Path) -> None:
    """A file that was to replace the ledger is removed at the next start, and the ledger is as it was."""
    disk = disk_in(tmp_path)
    disk.tidy()
    disk.save_ledger(LEDGER)
    config = Config(instance="unit", root=str(tmp_path))
    (config.state / "ledger.msgpack.new").write_bytes(b"half")
    disk.tidy()
    assert [path.name for path in config.state.iterdir()] == ["ledger.msgpack"]
    assert disk.load_ledger() == LEDGER


def test_nothing_saved_is_an_empty_store(tmp_path: Path) -> None:
    """An instance that never was has no configuration, wants nothing, and has an empty ledger."""
    disk = disk_in(tmp_path)
    assert (disk.load_config(), disk.load_kept(), disk.load_ledger()) == (None, b"", Ledger())
    assert not disk.exists()


def test_a_store_is_taken_up_only_where_it_knows_the_kernel(tmp_path: Path) -> None:
    """A ledger that is gone or older than the kernel's generation, and what is wanted when it is gone though
    somebody is attached, are damage; a store that knows is taken up."""
    disk = disk_in(tmp_path)
    assert disk.take_up(0) == Ledger()
    with pytest.raises(DamagedError, match=r"ledger\.msgpack is gone or old"):
        disk.take_up(1)
    disk.save_ledger(LEDGER)
    with pytest.raises(DamagedError, match=r"wanted\.msgpack is gone"):
        disk.take_up(LEDGER.generation)
    disk.save_kept(b"wanted")
    assert disk.take_up(LEDGER.generation) == LEDGER
    with pytest.raises(DamagedError, match=r"ledger\.msgpack is gone or old"):
        disk.take_up(LEDGER.generation + 1)


@pytest.mark.parametrize("place", [0, 9, 20, -1])
def test_a_flipped_byte_anywhere_is_noticed(tmp_path: Path, place: int) -> None:
    """Magic, checksum, first and last byte: damage to any is an error that names the file."""
    disk_in(tmp_path).save_ledger(LEDGER)
    path = tmp_path / "var/lib/cloche/unit/ledger.msgpack"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"ledger\.msgpack"):
        disk_in(tmp_path).load_ledger()


@pytest.mark.parametrize("length", [0, 5, 11, 12, 30])
def test_a_file_cut_short_is_noticed(tmp_path: Path, length: int) -> None:
    """A file that ends early, however early, is damaged and not empty."""
    disk_in(tmp_path).save_ledger(LEDGER)
    path = tmp_path / "var/lib/cloche/unit/ledger.msgpack"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedError):
        disk_in(tmp_path).load_ledger()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """When the new content cannot be written, the old one stays whole and nothing is left beside it."""
    path = tmp_path / "file"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, 5)  # type: ignore[arg-type]
    with pytest.raises(OSError):
        write_whole(tmp_path / "missing" / "file", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_remove_takes_everything(tmp_path: Path) -> None:
    """After removal no file and no folder of the instance is left."""
    disk = disk_in(tmp_path)
    disk.save_ledger(LEDGER)
    disk.remove()
    disk.remove()
    assert not disk.exists()
    assert list((tmp_path / "var/lib/cloche").iterdir()) == []
