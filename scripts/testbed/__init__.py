# SPDX-License-Identifier: GPL-2.0
"""The emulated machine, the kernels for it, the series of patches, and their checks.

paths and process are what all others use. machine/ has the hardware (topology), its ACPI
tables, the initramfs, the running QEMU (guest) and what is run there (job). scenarios/ has
the demonstration and what else a VMM does, one file each; their guest halves are in
machine/ at the top of the repository. series/ turns patches/ into a branch and back.
checks/ is what make check runs: main has the list. kernel, deb, bench, shell and litmus
are a command or a check each.
"""
