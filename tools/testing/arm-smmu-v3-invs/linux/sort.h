/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _INVS_FUZZ_SORT_H
#define _INVS_FUZZ_SORT_H

/* Types used in prototypes of unused functions */
typedef void (*swap_r_func_t)(void *a, void *b, int size, const void *priv);
typedef void (*swap_func_t)(void *a, void *b, int size);
typedef int (*cmp_r_func_t)(const void *a, const void *b, const void *priv);
typedef int (*cmp_func_t)(const void *a, const void *b);

#include "../../../../include/linux/sort.h"

#endif /* _INVS_FUZZ_SORT_H */
