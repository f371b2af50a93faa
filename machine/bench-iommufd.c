// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the costs of attaching, mapping and unmapping in user space; runs on
 * the emulated machine.
 *
 *	bench-iommufd REPEATS MEBIBYTES CDEV...
 *
 * The first and the last device are behind the first SMMU, and the others behind
 * one SMMU each. Like a VMM, the program attaches all devices to one IOAS, for
 * which iommufd allocates the domains. Prints, for K = 1, 2, 4, 8:
 *
 *	##figure NAME-K UNIT MEDIAN MIN MAX SAMPLES
 *
 * where K is the number of SMMUs. NAME is one of:
 *
 *	join-time	attach K - 1 devices behind as many other SMMUs to an IOAS
 *			with mappings; for K = 1, attach the last device
 *	join-little-time	the same with a sixteenth of the memory
 *	map-time	IOMMU_IOAS_MAP of all memory
 *	map-pages	pages for the page tables of this (SecPageTables)
 *	unmap-time	IOMMU_IOAS_UNMAP of all memory in one call
 *	unmap-2m-time	the same in calls of 2 MiB, mapped in the same pieces
 *	unmap-4k-time	the same of a sixteenth of the memory in calls of 4 KiB
 *
 * Adjacent pages of the memory are not adjacent in physical memory, so that there
 * is a table entry for every 4 KiB.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>

#define PAGE		4096ul
#define IOVA		(1ul << 30)
#define MAX_REPEATS	64
#define MAX_DEVICES	17
/* Odd, so that every page is touched once, in non-sequential order */
#define STRIDE		20011ul

static int iommufd, device[MAX_DEVICES], devices, repeats;
static uint32_t ioas;
static char *memory;
static size_t size;

struct samples {
	double value[MAX_REPEATS];
	int number;
};

static void die(const char *what)
{
	printf("##problem bench-iommufd: %s\n", what);
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void add(struct samples *samples, double value)
{
	samples->value[samples->number++] = value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(struct samples *samples, const char *name, int k, const char *unit)
{
	double *value = samples->value;
	int number = samples->number;

	qsort(value, number, sizeof(*value), compare);
	printf("##figure %s-%d %s %.1f %.1f %.1f %d\n", name, k, unit, value[number / 2], value[0],
	       value[number - 1], number);
	samples->number = 0;
}

/* Number of pages of IOMMU and KVM page tables */
static unsigned long table_pages(void)
{
	unsigned long kib, found = -1ul;
	char line[128];
	FILE *info;

	/* Reading this file adds the counters of all CPUs. */
	info = fopen("/proc/sys/vm/stat_refresh", "r");
	if (!info)
		die("/proc/sys/vm/stat_refresh");
	while (fgets(line, sizeof(line), info))
		;
	fclose(info);
	info = fopen("/proc/meminfo", "r");
	while (info && fgets(line, sizeof(line), info))
		if (sscanf(line, "SecPageTables: %lu kB", &kib) == 1)
			found = kib / (PAGE / 1024);
	if (!info || found == -1ul)
		die("SecPageTables");
	fclose(info);
	return found;
}

static void bind_device(int d, const char *path)
{
	struct vfio_device_bind_iommufd arg = { .argsz = sizeof(arg), .iommufd = iommufd };

	device[d] = open(path, O_RDWR);
	if (device[d] < 0 || ioctl(device[d], VFIO_DEVICE_BIND_IOMMUFD, &arg))
		die(path);
}

static void attach(int d)
{
	struct vfio_device_attach_iommufd_pt arg = { .argsz = sizeof(arg), .pt_id = ioas };

	if (ioctl(device[d], VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg))
		die("attach");
}

static void detach(int d)
{
	struct vfio_device_detach_iommufd_pt arg = { .argsz = sizeof(arg) };

	if (ioctl(device[d], VFIO_DEVICE_DETACH_IOMMUFD_PT, &arg))
		die("detach");
}

static void map(size_t at, size_t length)
{
	struct iommu_ioas_map arg = {
		.size = sizeof(arg),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)memory + at,
		.length = length,
		.iova = IOVA + at,
	};

	if (ioctl(iommufd, IOMMU_IOAS_MAP, &arg))
		die("map");
}

static void unmap(size_t at, size_t length)
{
	struct iommu_ioas_unmap arg = {
		.size = sizeof(arg),
		.ioas_id = ioas,
		.iova = IOVA + at,
		.length = length,
	};

	if (ioctl(iommufd, IOMMU_IOAS_UNMAP, &arg) || arg.length != length)
		die("unmap");
}

static void join(int k, const char *name, size_t length)
{
	struct samples times = {};
	int from = k > 1 ? 1 : devices - 1, to = k > 1 ? k : devices;
	double start;

	for (int r = 0; r < repeats; r++) {
		attach(0);
		map(0, length);
		start = now();
		for (int d = from; d < to; d++)
			attach(d);
		add(&times, now() - start);
		for (int d = from; d < to; d++)
			detach(d);
		unmap(0, length);
		detach(0);
	}
	report(&times, name, k, "us");
}

static void pieces(int k, const char *name, size_t length, size_t piece)
{
	struct samples times = {};
	double start;

	for (int r = 0; r < repeats; r++) {
		for (size_t at = 0; at < length; at += piece)
			map(at, piece);
		start = now();
		for (size_t at = 0; at < length; at += piece)
			unmap(at, piece);
		add(&times, now() - start);
	}
	report(&times, name, k, "us");
}

static void figures(int k)
{
	struct samples maps = {}, unmaps = {}, pages = {};

	join(k, "join-time", size);
	join(k, "join-little-time", size / 16);

	/* An unmap may not free empty tables, so use new domains for each sample. */
	for (int r = 0; r < repeats; r++) {
		unsigned long before = table_pages();
		double start;

		for (int d = 0; d < k; d++)
			attach(d);
		start = now();
		map(0, size);
		add(&maps, now() - start);
		add(&pages, table_pages() - before);
		start = now();
		unmap(0, size);
		add(&unmaps, now() - start);
		for (int d = 0; d < k; d++)
			detach(d);
	}
	report(&maps, "map-time", k, "us");
	report(&pages, "map-pages", k, "pages");
	report(&unmaps, "unmap-time", k, "us");

	for (int d = 0; d < k; d++)
		attach(d);
	pieces(k, "unmap-2m-time", size, 2 << 20);
	pieces(k, "unmap-4k-time", size / 16, PAGE);
	for (int d = 0; d < k; d++)
		detach(d);
}

int main(int argc, char **argv)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	repeats = argc > 1 ? atoi(argv[1]) : 0;
	size = argc > 2 ? strtoul(argv[2], NULL, 0) << 20 : 0;
	devices = argc - 3;
	if (repeats < 1 || repeats > MAX_REPEATS || !size || size % (32 << 20) || devices < 2 ||
	    devices > MAX_DEVICES)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || madvise(memory, size, MADV_NOHUGEPAGE))
		die("memory");
	for (size_t i = 0; i < size / PAGE; i++)
		memory[i * STRIDE % (size / PAGE) * PAGE] = 1;

	iommufd = open("/dev/iommu", O_RDWR);
	if (iommufd < 0 || ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc))
		die("/dev/iommu");
	ioas = alloc.out_ioas_id;
	for (int d = 0; d < devices; d++)
		bind_device(d, argv[3 + d]);
	for (int k = 1; k < devices; k *= 2)
		figures(k);
	return 0;
}
