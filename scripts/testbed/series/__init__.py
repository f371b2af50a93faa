# SPDX-License-Identifier: GPL-2.0
"""Convert patches/ to a git branch on a kernel and back."""
