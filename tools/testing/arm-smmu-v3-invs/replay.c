// SPDX-License-Identifier: GPL-2.0
/* Run main.c without a fuzzer: read inputs from files or generate them */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static u8 data[4096];

static int replay_files(char **files)
{
	for (; *files; files++) {
		FILE *file = fopen(*files, "rb");
		size_t size;

		if (!file) {
			fprintf(stderr, "%s: %s\n", *files, strerror(errno));
			return 1;
		}
		size = fread(data, 1, sizeof(data), file);
		fclose(file);
		fuzz_run(data, size);
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long i, seed, count;

	if (argc < 2 || (!strcmp(argv[1], "-r") && argc != 4)) {
		fprintf(stderr, "usage: %s FILE...\n       %s -r SEED COUNT\n",
			argv[0], argv[0]);
		return 1;
	}
	fuzz_init(&argc, &argv);
	if (strcmp(argv[1], "-r"))
		return replay_files(argv + 1);

	seed = strtoul(argv[2], NULL, 0);
	count = strtoul(argv[3], NULL, 0);
	for (i = 0; i < count; i++)
		fuzz_run(data, fuzz_random(data, 512, seed + i));
	return 0;
}
