# SPDX-License-Identifier: GPL-2.0
"""The emulated machine, and jobs that run on it."""
