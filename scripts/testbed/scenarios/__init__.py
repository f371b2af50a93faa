# SPDX-License-Identifier: GPL-2.0
"""Scenarios with a VMM and a guest on the emulated machine."""
