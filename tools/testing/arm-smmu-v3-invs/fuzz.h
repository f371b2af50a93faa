/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _INVS_FUZZ_H
#define _INVS_FUZZ_H

#include <linux/types.h>

/* An input of @max_size bytes at the most */
size_t fuzz_random(u8 *data, size_t max_size, unsigned int seed);

/* The Makefile gives these the names that libFuzzer looks for */
int fuzz_init(int *argc, char ***argv);
int fuzz_run(const u8 *data, size_t size);
size_t fuzz_mutate(u8 *data, size_t size, size_t max_size, unsigned int seed);

/* And this the name that it has in libFuzzer */
size_t fuzz_mutate_more(u8 *data, size_t size, size_t max_size);

#endif /* _INVS_FUZZ_H */
