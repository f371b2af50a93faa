#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
from testbed import bench
from testbed.paths import cli

cli(bench.main)
