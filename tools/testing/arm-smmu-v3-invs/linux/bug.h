/* SPDX-License-Identifier: GPL-2.0 */
/* Count all warnings, to compare them with the expected number */
#ifndef _INVS_FUZZ_BUG_H
#define _INVS_FUZZ_BUG_H

#include <stdbool.h>

#define WARN_ON(condition)	fuzz_warn(!!(condition))
#define WARN_ON_ONCE(condition)	WARN_ON(condition)

bool fuzz_warn(bool condition);

#endif /* _INVS_FUZZ_BUG_H */
