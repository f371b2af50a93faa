# SPDX-License-Identifier: GPL-2.0
"""Edit ACPI tables of the machine: disassemble, edit and compile them with iasl."""
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from testbed.paths import Error
from testbed.process import said

# Parts of an IORT in the format of iasl
SMMU = re.compile(r"\[(\w+)h .* Type : 04\n(?:.*\n){6}.* Base Address : (\w+)\n")
MAPPING = re.compile(r".* Input base : (\w+)\n.* ID Count : (\w+)\n.* Output Base : (\w+)\n"
                     r".* Output Reference : (\w+)\n.*\n.* Single Mapping : 0\n")
# iasl compiles the value of decoded flags and ignores the bits below it.
MEMORY_FLAGS = r"(Memory Flags \(decoded below\) : )\w+"
CANWBS = "07"                   # coherent path, coherent attributes, CANWBS
# The _DSM of a PCI root. It returns a buffer with 0 for all functions, including function 0,
# which lists the supported ones.
BUFFER = r"Return \(Buffer \(One\)\s*\{\s*0x00[^}]*\}\)"
DSM = rf"(If \(\(Arg2 == Zero\)\)\s*\{{\s*{BUFFER}\s*\}}\s*\}}\s*){BUFFER}"
# A node with one descriptor and one mapping. iasl computes the length.
RMR = """
Type : 06
Length : 0044
Revision : 03
Identifier : 00000000
Mapping Count : 00000001
Mapping Offset : 00000030
Flags (decoded below) : {flags:08X}
Remapping Permitted : 0
Access Privileged : 0
Access Attributes : 00
Number of RMR Descriptors : 00000001
RMR Descriptor Offset : 0000001C

Base Address of RMR : {address:016X}
Length of RMR : {size:016X}
Reserved : 00000000

Input base : 00000000
ID Count : 00000000
Output Base : {stream_id:08X}
Output Reference : {smmu:08X}
Flags (decoded below) : 00000001
Single Mapping : 1
"""
WRITE_BACK = 5 << 2             # normal memory, inner and outer write-back

# (first RID, last RID, first StreamID, base address of the SMMU)
Route = tuple[int, int, int, int]


def iasl(source: str | bytes, *options: str) -> bytes:
    """Compile the text SOURCE, or disassemble the table SOURCE."""
    with tempfile.TemporaryDirectory() as tmp:
        given, made = "table.aml", "table.dsl"
        if isinstance(source, str):
            given, made, source = made, given, source.encode()
        Path(tmp, given).write_bytes(source)
        run = said("iasl", "-vs", *options, given, cwd=Path(tmp))
        if run.returncode or not Path(tmp, made).exists():
            raise Error(f"iasl: {run.stdout.strip()}")
        return Path(tmp, made).read_bytes()


def disassembled(table: bytes) -> str:
    if len(table) < 36 or int.from_bytes(table[4:8], "little") != len(table) or sum(table) & 0xff:
        raise Error("an ACPI table of the machine has a wrong length or checksum")
    return iasl(table, "-d").decode()


def replaced(pattern: str, new: str | Callable[[re.Match[str]], str], text: str) -> str:
    """Replace PATTERN, which must match at least once, by NEW in TEXT."""
    text, count = re.subn(pattern, new, text)
    if not count:
        raise Error(f"an ACPI table of the machine has no '{pattern}' to edit")
    return text


def plus_one(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2], 16) + 1:08X}"


def compiled(text: str) -> bytes:
    """The edited table. The kernel uses it because of its higher OEM revision."""
    return iasl(text.partition("Raw Table Data")[0])


def dsdt_with_boot_config(table: bytes) -> bytes:
    """The DSDT, changed so that the kernel keeps the firmware's PCI configuration. Otherwise the
    kernel ignores RMRs of PCI devices."""
    text = replaced(r"(DefinitionBlock \(.*, 0x)(\w+)", plus_one, disassembled(table))
    return compiled(replaced(DSM, r"\1Return (Zero)", text))


def iort_with_canwbs(table: bytes) -> bytes:
    text = replaced(r"(Oem Revision : )(\w+)", plus_one, disassembled(table))
    return compiled(replaced(MEMORY_FLAGS, rf"\g<1>{CANWBS}", text))


def iort_with_rmr(table: bytes, stream_id: int, address: int, size: int,
                  remap: bool = False) -> bytes:
    """The IORT with an additional reserved memory region of a StreamID. With REMAP the kernel
    may change its mapping."""
    text = disassembled(table)
    smmus = [ref for _, more, out, ref in mappings(text) if 0 <= stream_id - out <= more]
    if not smmus:
        raise Error(f"no SMMU of the machine has a StreamID {stream_id:#x}")
    text = replaced(r"((?:Oem Revision|Node Count) : )(\w+)", plus_one, text)
    return compiled(text.partition("Raw Table Data")[0] + RMR.format(
        flags=WRITE_BACK | remap, address=address, size=size, stream_id=stream_id, smmu=smmus[0]))


def smmu_bases(text: str) -> dict[int, int]:
    """{offset of the node: base address} of the SMMUs."""
    return {int(place, 16): int(base, 16) for place, base in SMMU.findall(text)}


def mappings(text: str) -> list[Route]:
    """(first RID, further RIDs, first StreamID, offset of the SMMU's node) of each mapping to
    an SMMU. Mappings of the SMMUs themselves are to an ITS."""
    found = [[int(word, 16) for word in words] for words in MAPPING.findall(text)]
    return [(first, more, out, ref) for first, more, out, ref in found if ref in smmu_bases(text)]


def iort_routes(table: bytes) -> list[Route]:
    """The routes from the PCI root complexes to the SMMUs."""
    text = disassembled(table)
    bases = smmu_bases(text)
    return [(first, first + more, out, bases[ref]) for first, more, out, ref in mappings(text)]
