#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
from testbed.scenarios import demo
from testbed.paths import cli

cli(demo.main)
