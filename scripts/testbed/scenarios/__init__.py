# SPDX-License-Identifier: GPL-2.0
"""What is shown or tested with a VMM and a guest on the emulated machine."""
