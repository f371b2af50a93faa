# SPDX-License-Identifier: GPL-2.0
"""The emulated machine, the kernels for it, the series of patches, and their checks."""
