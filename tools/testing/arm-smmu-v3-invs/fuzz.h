/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _INVS_FUZZ_H
#define _INVS_FUZZ_H

#include <linux/types.h>

/* Generate an input of at most @max_size bytes */
size_t fuzz_random(u8 *data, size_t max_size, unsigned int seed);

/* The Makefile renames these to the names used by libFuzzer */
int fuzz_init(int *argc, char ***argv);
int fuzz_run(const u8 *data, size_t size);
size_t fuzz_mutate(u8 *data, size_t size, size_t max_size, unsigned int seed);

/* Implemented by libFuzzer, renamed too */
size_t fuzz_mutate_more(u8 *data, size_t size, size_t max_size);

#endif /* _INVS_FUZZ_H */
