// SPDX-License-Identifier: GPL-2.0
#include "fuzz.h"

/*
 * Left alone, libFuzzer makes long sequences of short ones in small steps, and
 * all of them are much alike. So have it start anew now and then.
 */
size_t fuzz_mutate(u8 *data, size_t size, size_t max_size, unsigned int seed)
{
	if (seed % 8)
		return fuzz_mutate_more(data, size, max_size);
	return fuzz_random(data, max_size, seed);
}
