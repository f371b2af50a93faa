# SPDX-License-Identifier: GPL-2.0
"""The emulated machine, the kernels for it, the series of patches, and their checks.

paths and process are used by all others. machine/ has the hardware (topology), its ACPI
tables, the initramfs, the running QEMU (guest) and the scripts run in it (job). scenarios/
has the demonstration and the other scenarios of a VMM, one file each; the scripts for their
guests are in machine/ at the top of the repository. series/ converts patches/ to a branch
and back. checks/ has the checks of make check; main has the list. kernel, deb, bench, shell
and litmus are a command or a check each.
"""
