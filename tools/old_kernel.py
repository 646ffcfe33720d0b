"""Boots Debian 12's own kernel in qemu, and runs the kernel tests there and some of the agent's: does it do?

``python tools/old_kernel.py [TEST...]`` fetches the kernel by apt, puts this Python, its libraries and this
folder into an initramfs, boots it (KVM where it works, else emulated: then it takes long), and writes what
pytest said to tests/kernel/kernel-6.1.json. EMULATE=1 does not try KVM. Status 0 when all tests passed. Needs
Debian's qemu-system-x86.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "tests/kernel/kernel-6.1.json"
META, BUSYBOX = "linux-image-amd64", "busybox-static"
DEFAULT = ("tests/kernel", "tests/e2e/test_agent_verdicts.py")
LEFT_OUT = (
    "ziglang",
    "mypy",
    "mypyc",
    "networkx",
    "lxml",
    "pip",
    "ruff",
    "pre_commit",
    "virtualenv",
    "__pycache__",
)
MODULES = (
    "drivers/net/veth.ko",
    "drivers/net/dummy.ko",
    "net/bridge",
    "net/802",
    "net/llc",
    "net/sched",
    "net/netfilter",
    "net/ipv4/netfilter",
    "net/ipv6/netfilter",
    "lib",
    "crypto",
)
COMPILER = (
    *("__init__.py", "__main__.py", "zig", "lib/include"),
    *("lib/libc/include/any-linux-any", "lib/libc/include/x86-linux-any"),
)
"""Of ziglang, what compiles for BPF: some tests load other objects."""

PROGRAMS = ("ip", "tc", "nft")
MARK = "CLOCHE-RESULT "
SECONDS = {"kvm": 600, "tcg": 3600}
KVM_SILENT_SECONDS = 30
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/repo/src:/site HOME=/tmp PYTHONDONTWRITEBYTECODE=1
mkdir -p /proc /sys /dev /tmp /run/netns /var/lib /sbin /root /etc
ln -sfn /run /var/run; touch /etc/resolv.conf
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t bpf bpf /sys/fs/bpf
ln -sf /bin/busybox /sbin/modprobe; ln -sf /proc/self/fd /dev/fd
echo "CLOCHE-BOOTED $(uname -r)"
depmod
for module in crc32c_generic veth sch_ingress cls_bpf nft_chain_nat nft_masq; do modprobe $module; done
ip link set lo up
cd /repo
/usr/bin/python3 -m pytest -v -p no:cacheprovider -p no:randomly --junitxml=/tmp/report.xml --tb=short {tests}
/usr/bin/python3 /repo/tools/old_kernel.py --report /tmp/report.xml
/usr/bin/python3 -m cloche doctor
poweroff -f
"""


def report(path: Path) -> str:
    """One line for the host: what the tests came to, from pytest's XML; run inside."""
    import xml.etree.ElementTree as ElementTree

    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    failed = [
        f"{c.get('classname')}.{c.get('name')}"
        for c in cases
        if c.find("failure") is not None or c.find("error") is not None
    ]
    skipped = sorted({str(s.get("message")) for c in cases if (s := c.find("skipped")) is not None})
    told = {"kernel": os.uname().release, "tests": len(cases), "failed": sorted(failed), "skipped": skipped}
    return MARK + json.dumps(told)


def fetch(folder: Path) -> None:
    """Kernel and busybox, unpacked into ``folder``, by apt-get download."""
    depends = subprocess.run(
        ["apt-cache", "depends", META], capture_output=True, text=True, check=True
    ).stdout
    image = next(line.split()[1] for line in depends.splitlines() if "Depends: linux-image" in line)
    subprocess.run(["apt-get", "download", "-qq", image, BUSYBOX], check=True, cwd=folder)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "debian")], check=True)


def libraries(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that these files need, by ldd."""
    found: set[Path] = set()
    for file in files:
        said = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False).stdout
        words = (word for line in said.splitlines() for word in line.split() if word.startswith("/"))
        found |= {Path(word) for word in words if Path(word).exists()}
    return found


def place(source: Path, target: Path) -> None:
    """Copy a file or a folder, with the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def furnish(root: Path, debian: Path, tests: Iterable[str]) -> None:
    """The files of the initramfs below ``root``."""
    modules = next((debian / "lib/modules").iterdir())
    for part in MODULES:
        place(modules / "kernel" / part, root / "lib/modules" / modules.name / "kernel" / part)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(modules / name, root / "lib/modules" / modules.name / name)
    (root / "bin").mkdir()
    shutil.copy(debian / "bin/busybox", root / "bin/busybox")
    python, standard = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    ignored = shutil.ignore_patterns("test", "__pycache__", "site-packages", "dist-packages", "config-3*")
    shutil.copytree(standard, root / standard.relative_to("/"), ignore=ignored)
    site = Path(sysconfig.get_path("purelib"))
    shutil.copytree(site, root / "site", ignore=shutil.ignore_patterns(*LEFT_OUT, "*__mypyc*"))
    for part in COMPILER:
        place(site / "ziglang" / part, root / "site/ziglang" / part)
    for part in ("src", "tests", "tools", "bpf", "examples", "pyproject.toml"):
        place(ROOT / part, root / "repo" / part)
    # Below /usr, whose programs come before busybox's of the same names, which know less.
    programs = [Path(found).resolve() for name in PROGRAMS if (found := shutil.which(name))]
    libbpf = Path(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/libbpf.so.1")
    native = [*(root / "site").rglob("*.so"), *(root / standard.relative_to("/")).rglob("*.so")]
    for file in {*libraries([python, libbpf, *programs, *native]), libbpf, *programs}:
        target = root / file.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(file, target)
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(python, root / "usr/bin/python3")
    precompile(root / standard.relative_to("/"), root / "site", root / "repo")
    (root / "init").write_text(INIT.format(tests=" ".join(tests)))
    (root / "init").chmod(0o755)


def precompile(*folders: Path) -> None:
    """Compile Python's files of these folders: where it is emulated, each start would wait for that."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    # Some libraries carry files that are not meant for this Python.
    subprocess.run([*command, *map(str, folders)], check=False, stdout=subprocess.DEVNULL)


def archive(root: Path) -> Iterator[bytes]:
    """The folder as a cpio archive of the kind that the kernel unpacks (newc)."""
    for number, path in enumerate(sorted(root.rglob("*")), 1):
        info = path.lstat()
        if stat.S_ISREG(info.st_mode):
            content = path.read_bytes()
        else:
            content = os.fsencode(os.readlink(path)) if path.is_symlink() else b""
        yield entry(number, info.st_mode, os.fsencode(path.relative_to(root)), content)
    yield entry(0, 0, b"TRAILER!!!", b"")


def entry(number: int, mode: int, name: bytes, content: bytes) -> bytes:
    """One file of the archive."""
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def boot(kernel: Path, initramfs: Path, accelerator: str) -> str | None:
    """What the machine said on its console, or None when KVM got it nowhere."""
    command = ["qemu-system-x86_64", "-accel", accelerator, "-m", "4096", "-smp", "2", "-no-reboot"]
    command += ["-cpu", "host,-arch-capabilities" if accelerator == "kvm" else "max"]
    command += ["-display", "none", "-monitor", "none", "-serial", "stdio", "-kernel", str(kernel)]
    command += ["-initrd", str(initramfs), "-append", "console=ttyS0 panic=-1 quiet"]
    log = initramfs.with_suffix(f".{accelerator}.log")
    with log.open("wb") as out, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out) as machine:
        begun = time.monotonic()
        while machine.poll() is None and time.monotonic() - begun < SECONDS[accelerator]:
            time.sleep(1)
            silent = "CLOCHE-BOOTED" not in log.read_text(errors="replace")
            if accelerator == "kvm" and silent and time.monotonic() - begun > KVM_SILENT_SECONDS:
                break
        machine.kill()
    said = log.read_text(errors="replace")
    return said if "CLOCHE-BOOTED" in said else None


def main(arguments: list[str]) -> int:
    """Boot, test, write the result; or with ``--report`` tell it, inside."""
    if arguments[:1] == ["--report"]:
        print(report(Path(arguments[1])), flush=True)
        return 0
    if not shutil.which("qemu-system-x86_64"):
        sys.exit("qemu-system-x86_64 is not installed (Debian: qemu-system-x86)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fetch(folder)
        (folder / "root").mkdir()
        furnish(folder / "root", folder / "debian", arguments or DEFAULT)
        initramfs = folder / "initramfs.gz"
        with gzip.open(initramfs, "wb", compresslevel=1) as packed:
            packed.writelines(archive(folder / "root"))
        kernel = next((folder / "debian/boot").glob("vmlinuz-*"))
        begun, said, used = time.monotonic(), None, ""
        for used in (
            ("kvm", "tcg") if os.access("/dev/kvm", os.W_OK) and "EMULATE" not in os.environ else ("tcg",)
        ):
            begun, said = time.monotonic(), boot(kernel, initramfs, used)
            if said is not None:
                break
    print(said or "the machine did not boot")
    lines = [line for line in (said or "").splitlines() if MARK in line]
    if not lines:
        return 1
    told = json.loads(lines[-1].partition(MARK)[2])
    told |= {
        "accelerator": used,
        "seconds": round(time.monotonic() - begun),
        "run": arguments or list(DEFAULT),
    }
    RESULT.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if told["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
