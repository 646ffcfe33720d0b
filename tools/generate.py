"""Writes the Python twins of the C headers: layout.py from types.h (by its BTF), reasons.py from reasons.h.

``python tools/generate.py`` writes them, ``--check`` exits 1 when one on disk is stale.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ziglang

from cloche.datapath.btf import Btf, EnumType, Member, StructType, read_elf

ROOT = Path(__file__).resolve().parent.parent
TYPES, REASONS = ROOT / "bpf/types.h", ROOT / "bpf/reasons.h"
LAYOUT_PY = ROOT / "src/cloche/datapath/layout.py"
REASONS_PY = ROOT / "src/cloche/model/reasons.py"
CODES = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q"}


def compile_types(header: Path) -> bytes:
    """The object of a C file that uses every struct and enum of ``header``, so that BTF names them all."""
    tags = re.findall(r"^(struct|enum) (\w+) \{", header.read_text(), re.M)
    uses = "\n".join(f"{kind} {name} use_{name};" for kind, name in tags)
    includes = Path(ziglang.__file__).parent / "lib/libc/include"
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "types.c"), Path(folder, "types.o")
        source.write_text(f'#include <linux/types.h>\n#include "{header}"\n{uses}\n')
        command = [sys.executable, "-m", "ziglang", "clang", "-target", "bpf", "-g", "-O2", "-c"]
        for name in ("any-linux-any", "x86-linux-any"):
            command += ["-isystem", str(includes / name)]
        subprocess.run([*command, str(source), "-o", str(output)], check=True)
        return output.read_bytes()


def defines(header: str) -> dict[str, int]:
    """The plain numeric constants of a header, expressions over earlier names included."""
    values: dict[str, int] = {}
    for line in re.finditer(r"^#define (\w+) +([^/\n]+?) *(?:/\*.*)?$", header, re.M):
        name, expression = line.groups()
        if re.fullmatch(r"[\w\s()+*<|]+", expression):
            values[name] = int(eval(expression, {"__builtins__": {}}, {**enumerators(header), **values}))
    return values


def enumerators(header: str) -> dict[str, int]:
    """Every enumerator of the header's enums with its number."""
    numbers: dict[str, int] = {}
    for body in re.findall(r"^enum \w+ \{(.*?)\};", header, re.M | re.S):
        following = 0
        for item in re.sub(r"/\*.*?\*/", "", body, flags=re.S).split(","):
            name, _, value = (part.strip() for part in item.partition("="))
            if name:
                following = int(value, 0) if value else following
                numbers[name] = following
                following += 1
    return numbers


def class_name(name: str) -> str:
    """``address_key`` as ``AddressKey``."""
    return "".join(part.capitalize() for part in name.split("_"))


def is_padding(member: Member) -> bool:
    """Fields called pad, pad0... hold nothing."""
    return re.fullmatch(r"pad\d*", member.name) is not None


def format_of(kind: StructType) -> str:
    """The ``struct`` module's format of a C struct, padding as ``x``."""
    parts, at = ["<"], 0
    for member in kind.members:
        parts.append("x" * (member.offset - at))
        code, count = CODES[member.element], member.length
        size = member.element.size * max(count, 1)
        if is_padding(member):
            parts.append(f"{size}x")
        elif code == "B" and count:
            parts.append(f"{count}s")
        else:
            parts.append(f"{count}{code}" if count else code)
        at = member.offset + size
    return "".join(parts) + "x" * (kind.size - at)


def field_name(member: Member) -> str:
    """The field's name, with an underscore where a tuple has a method of that name."""
    return f"{member.name}_" if member.name in ("count", "index") else member.name


def python_type(member: Member) -> str:
    """Byte arrays are bytes, other arrays tuples."""
    if not member.length:
        return "int"
    return "bytes" if member.element.size == 1 else "tuple[int, ...]"


def struct_lines(kind: StructType) -> Iterator[str]:
    """The NamedTuple of one struct with its packing."""
    shown, upper = [m for m in kind.members if not is_padding(m)], kind.name.upper()
    yield f'_{upper} = Struct("{format_of(kind)}")'
    yield f"{upper}_SIZE = {kind.size}"
    yield f"{upper}_OFFSETS = {{{', '.join(f'{m.name!r}: {m.offset}' for m in shown)}}}"
    yield f"class {class_name(kind.name)}(NamedTuple):"
    yield f'    """``struct {kind.name}``, {kind.size} bytes."""'
    yield from (f"    {field_name(m)}: {python_type(m)}" for m in shown)
    packed, unpacked, at = [], [], 0
    for member in shown:
        many = member.length if python_type(member).startswith("tuple") else 0
        packed.append(("*" if many else "") + f"self.{field_name(member)}")
        unpacked.append(f"v[{at}:{at + many}]" if many else f"v[{at}]")
        at += many or 1
    yield "    def pack(self) -> bytes:"
    yield '        """Its bytes in a map."""'
    yield f"        return _{upper}.pack({', '.join(packed)})"
    yield "    @classmethod"
    yield "    def unpack(cls, raw: Buffer) -> Self:"
    yield '        """The value of exactly these bytes; struct.error when there are more or fewer."""'
    yield f"        v = _{upper}.unpack(raw)"
    yield f"        return cls({', '.join(unpacked)})"


def enum_lines(kind: EnumType) -> Iterator[str]:
    """One enum as IntEnum; the prefix that all its enumerators share is left out."""
    names = [name for name, _ in kind.values]
    prefix = names[0].split("_")[0] + "_"
    if not all(name.startswith(prefix) for name in names):
        raise ValueError(f"enum {kind.name}: not every enumerator begins with {prefix}")
    yield f"class {class_name(kind.name)}(IntEnum):"
    yield f'    """``enum {kind.name}``."""'
    yield from (f"    {name.removeprefix(prefix)} = {number}" for name, number in kind.values)


def layout_source() -> str:
    """The text of layout.py."""
    header = TYPES.read_text()
    btf = Btf(read_elf(compile_types(TYPES)).sections[".BTF"])
    lines = [LAYOUT_OPENING]
    lines += [f"{name} = {value}" for name, value in defines(header).items()]
    order = re.findall(r"^(struct|enum) (\w+) \{", header, re.M)
    structs, enums = btf.structs(), btf.enums()
    for kind, name in order:
        lines += struct_lines(structs[name]) if kind == "struct" else enum_lines(enums[name])
    return formatted("\n".join(lines) + "\n", LAYOUT_PY)


def reasons_source() -> str:
    """The text of reasons.py."""
    pattern = r'REASON\((\d+), (\w+), "([^"]+)", "([^"]+)"\)'
    rows = re.findall(pattern, REASONS.read_text().split("#define CLOCHE_REASONS(REASON)")[1])
    members = "\n".join(f"    {name} = {number}" for number, name, _, _ in rows)
    shown = "\n".join(f'    Reason.{name}: "{text}",' for _, name, text, _ in rows)
    meanings = "\n".join(f'    Reason.{name}: "{text}",' for _, name, _, text in rows)
    return formatted(
        REASONS_TEMPLATE.format(opening=REASONS_OPENING, members=members, shown=shown, meanings=meanings),
        REASONS_PY,
    )


LAYOUT_OPENING = '''"""The maps' layout. Generated from bpf/types.h by tools/generate.py; do not edit."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Self

Buffer = bytes | bytearray | memoryview
'''

REASONS_OPENING = (
    '"""Why a packet was denied. Generated from bpf/reasons.h by tools/generate.py; do not edit."""'
)
REASONS_TEMPLATE = '''{opening}

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """One list for the program, the tables and the oracle."""

{members}

    @property
    def shown(self) -> str:
        """The reason as people and JSON see it."""
        return SHOWN[self]

    @property
    def meaning(self) -> str:
        """What it means, in a sentence."""
        return MEANINGS[self]


SHOWN: dict[Reason, str] = {{
{shown}
}}

MEANINGS: dict[Reason, str] = {{
{meanings}
}}
'''


def formatted(source: str, path: Path) -> str:
    """The source as ``ruff format`` writes it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def main(arguments: list[str]) -> int:
    """Write both files, or with ``--check`` only compare; the exit status."""
    stale = []
    for path, text in ((LAYOUT_PY, layout_source()), (REASONS_PY, reasons_source())):
        if path.exists() and path.read_text() == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in arguments:
            path.write_text(text)
    if stale:
        print(("stale: " if "--check" in arguments else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
