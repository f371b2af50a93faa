# SPDX-License-Identifier: GPL-2.0
"""patches/ as a git branch on a kernel, and the branch as patches/."""
