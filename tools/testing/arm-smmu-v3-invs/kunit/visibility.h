/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/kconfig.h>
#include "../../../../include/kunit/visibility.h"
