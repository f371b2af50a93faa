/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_IOMMU_NVME_DMA_H
#define SELFTESTS_IOMMU_NVME_DMA_H

#include <linux/types.h>

#include <libvfio.h>

#define NVME_DMA_PAGE_SIZE	4096
#define NVME_DMA_QUEUE_SIZE	(2 * NVME_DMA_PAGE_SIZE)

/*
 * An NVMe controller as a source of DMA. Identify makes it read memory (the
 * submission queue) and write memory (the data and the completion queue). Every
 * controller has it; it needs BAR0 only, no interrupts, and leaves the media
 * alone.
 */
struct nvme_dma {
	struct vfio_pci_device *device;
	void *bar;
	void *queues;
	iova_t queues_iova;
	u32 stride;
	u32 timeout_ms;
	bool running;
	u16 tail;
	u16 head;
	u16 cid;
	bool phase;
};

/*
 * Take over @device. @queues is NVME_DMA_QUEUE_SIZE of memory that the
 * controller reaches at @queues_iova.
 *
 * Return: NULL, or why the device cannot be used.
 */
const char *nvme_dma_init(struct nvme_dma *nvme, struct vfio_pci_device *device,
			  void *queues, iova_t queues_iova);

void nvme_dma_stop(struct nvme_dma *nvme);

/*
 * Have the controller write NVME_DMA_PAGE_SIZE bytes, its Identify Controller
 * data, to @iova. Start the controller if it is not running.
 *
 * Return: 0 if the controller reports success, -EIO if it reports an error,
 * -ENXIO if it could not reach its queues and was stopped.
 */
int nvme_dma_write(struct nvme_dma *nvme, iova_t iova);

#endif /* SELFTESTS_IOMMU_NVME_DMA_H */
