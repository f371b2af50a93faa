// SPDX-License-Identifier: GPL-2.0
/*
 * One DMA of an iommu-testdev, QEMU's test device.
 *
 *	testdev BDF ADDRESS [arm]
 *
 * The device writes 0x12345678 to the DMA address ADDRESS, and compares memory at
 * the same physical address of the emulated machine. Prints:
 *
 *	0	the data was found
 *	dead0002	an SMMU blocked the DMA
 *	dead0004	the data was not found
 *
 * With "arm" the DMA starts at the next read of the first register.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {	/* registers of 4 bytes */
	TRIGGER, ADDRESS_LOW, ADDRESS_HIGH, LENGTH, RESULT, DOORBELL, ATTRIBUTES, PHYSICAL_LOW, PHYSICAL_HIGH,
};

#define PCI_COMMAND	4
/* Memory decoding and bus mastering, as there is no driver */
#define COMMAND		"\6"

static int open_file(const char *bdf, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	fd = open(path, O_RDWR);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	uint64_t address = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
	volatile uint32_t *reg;

	if (argc < 3)
		return 2;
	if (pwrite(open_file(argv[1], "config"), COMMAND, 1, PCI_COMMAND) != 1) {
		perror("config");
		return 1;
	}
	reg = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open_file(argv[1], "resource0"), 0);
	if (reg == MAP_FAILED) {
		perror("resource0");
		return 1;
	}
	reg[ADDRESS_LOW] = reg[PHYSICAL_LOW] = address;
	reg[ADDRESS_HIGH] = reg[PHYSICAL_HIGH] = address >> 32;
	reg[LENGTH] = 4;
	reg[DOORBELL] = 1;
	if (argc > 3)
		return 0;
	/* Reading the register starts the DMA. */
	(void)reg[TRIGGER];
	printf("%x\n", reg[RESULT]);
	return 0;
}
