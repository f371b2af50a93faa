// SPDX-License-Identifier: GPL-2.0
/*
 * DMA to guest memory during hot-plug and unplug. Runs in the guest of the
 * demonstration, and in the guest of vmm.py with no rounds until SIGTERM.
 *
 *	demo-dma ROUNDS NONCE DISK...
 *
 * A round plugs memory (virtio-mem), selects the same guest-physical pages in it
 * as the other rounds, does small DMA of every disk to these pages, and unplugs
 * the memory. While memory is being plugged or unplugged, DMA continues to other
 * pages. DMA to the plugged pages would pin them, and Linux would retry to unplug
 * them only after 50 s.
 *
 * The number of pages is small, as large transfers would evict stale translations
 * from the IOTLB.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE		4096
#define MEMORY		(8ul << 20)		/* plugged in a round */
#define STRIDE		(256ul << 10)		/* from page to page of a round */
#define PAGES		16
#define REPEAT		4
#define DISK_OFFSET	(8ul << 20)		/* behind what demo-guest.sh writes */
#define LINE		64

static const char *nonce, **name;
static int disks, disk[64];
static int pagemap;
static char *ours[PAGES], *plugged[PAGES], **page = ours;
static unsigned long number, dmas, wrong;
static volatile sig_atomic_t enough;

static void stop(int signal)
{
	enough = 1;
}

static void die(const char *what)
{
	printf("##problem demo-dma: %s\n", what);
	perror(what);
	exit(1);
}

/* The start of hot-plugged memory, 0 if there is none */
static uint64_t plugged_memory(void)
{
	FILE *iomem = fopen("/proc/iomem", "r");
	uint64_t start, found = 0;
	char line[128];

	while (iomem && !found && fgets(line, sizeof(line), iomem))
		if (strstr(line, "System RAM (virtio_mem)") &&
		    sscanf(line, "%lx", &start) == 1)
			found = start;
	if (iomem)
		fclose(iomem);
	return found;
}

static uint64_t guest_physical(const char *address)
{
	uint64_t entry;

	if (pread(pagemap, &entry, 8, (uintptr_t)address / PAGE * 8) != 8)
		die("pagemap");
	return entry >> 63 ? (entry & ((1ul << 55) - 1)) * PAGE : 0;
}

static char *allocate(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || madvise(memory, size, MADV_NOHUGEPAGE) ||
	    madvise(memory, size, MADV_POPULATE_WRITE))
		die("memory");
	return memory;
}

/*
 * Linux prefers hot-plugged memory, which is in ZONE_MOVABLE, for user space.
 * Returns the memory to be unmapped, or NULL if not all pages were found.
 */
static char *take_plugged(uint64_t start)
{
	char *memory = allocate(MEMORY);
	int found = 0;

	for (char *p = memory; p < memory + MEMORY; p += PAGE) {
		uint64_t offset = guest_physical(p) - start;

		if (offset < PAGES * STRIDE && offset % STRIDE == 0) {
			plugged[offset / STRIDE] = p;
			found++;
		}
	}
	if (found == PAGES)
		return memory;
	munmap(memory, MEMORY);
	return NULL;
}

static void wrong_data(int d, int i, const char *what)
{
	if (wrong++ < 3)
		printf("# %s, page at %#lx: %s, there is '%.*s'\n", name[d],
		       guest_physical(page[i]), what, LINE - 1, page[i]);
}

/* Write a page to the disk, overwrite it by the CPU, and read it from the disk. */
static void dma(int d, int i)
{
	off_t where = DISK_OFFSET + i * PAGE;
	char data[PAGE] = {};

	number++;
	for (int n = 0; n < PAGE; n += LINE)
		snprintf(data + n, LINE, "%s %d %d %lu %d", nonce, d, i, number, n);
	memcpy(page[i], data, PAGE);
	if (pwrite(disk[d], page[i], PAGE, where) != PAGE)
		wrong_data(d, i, "cannot write");
	memset(page[i], '?', PAGE);
	if (pread(disk[d], page[i], PAGE, where) != PAGE)
		wrong_data(d, i, "cannot read");
	else if (memcmp(page[i], data, PAGE))
		wrong_data(d, i, "wrong data");
	dmas += 2;
}

static void dma_all(int first)
{
	for (int d = 0; d < disks; d++)
		for (int i = 0; i < PAGES; i++)
			dma((first + d + i) % disks, i);
}

int main(int argc, char **argv)
{
	int rounds = argc > 3 ? atoi(argv[1]) : -1;
	char go[16], *memory;

	if (rounds < 0 || argc - 3 > 64)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	nonce = argv[2];
	name = (const char **)argv + 3;
	for (disks = 0; disks < argc - 3; disks++) {
		disk[disks] = open(name[disks], O_RDWR | O_DIRECT);
		if (disk[disks] < 0)
			die(name[disks]);
	}
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	for (int i = 0; i < PAGES; i++)
		ours[i] = allocate(PAGE);

	if (!rounds) {
		signal(SIGTERM, stop);
		dma_all(0);
		printf("# started\n");
		while (!enough)
			dma_all(0);
		printf("##dma 0 %lu %lu\n", dmas, wrong);
		return wrong != 0;
	}

	printf("1..%d\n", rounds);
	for (int round = 1; round <= rounds; round++) {
		unsigned long before = dmas, wrong_before = wrong, fixed;
		uint64_t start;

		printf("##memory %lu\n", MEMORY);
		while (!(start = plugged_memory()) || !(memory = take_plugged(start)))
			dma_all(0);

		page = plugged;
		fixed = dmas;
		for (int i = 0; i < REPEAT; i++)
			dma_all(i);
		fixed = dmas - fixed;

		for (int i = 0; i < PAGES; i++)
			printf("##page %#lx %.*s\n", guest_physical(page[i]), LINE - 1, page[i]);
		printf("##checkpoint\n");
		if (!fgets(go, sizeof(go), stdin))
			die("no answer at the checkpoint");

		page = ours;
		munmap(memory, MEMORY);
		printf("##memory 0\n");
		while (plugged_memory())
			dma_all(0);
		printf("##dma %lu %lu %lu\n", fixed, dmas - before - fixed, wrong - wrong_before);
		printf("%sok %d round %d\n", wrong == wrong_before ? "" : "not ", round, round);
	}
	return wrong != 0;
}
