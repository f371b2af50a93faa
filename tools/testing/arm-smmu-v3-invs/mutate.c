// SPDX-License-Identifier: GPL-2.0
#include "fuzz.h"

/*
 * By default libFuzzer extends short sequences in small steps, so that inputs are
 * similar. Replace some of them by random inputs.
 */
size_t fuzz_mutate(u8 *data, size_t size, size_t max_size, unsigned int seed)
{
	if (seed % 8)
		return fuzz_mutate_more(data, size, max_size);
	return fuzz_random(data, max_size, seed);
}
