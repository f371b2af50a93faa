/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_IOMMU_NVME_DMA_H
#define SELFTESTS_IOMMU_NVME_DMA_H

#include <linux/types.h>

#include <libvfio.h>

#define NVME_DMA_PAGE_SIZE	4096
/* The submission queue, the completion queue, and data that is not used */
#define NVME_DMA_QUEUE_SIZE	(3 * NVME_DMA_PAGE_SIZE)

/*
 * An NVMe controller as a source of DMA. The Identify command reads memory (the
 * submission queue) and writes memory (the data and the completion queue). It is
 * mandatory, requires only BAR0 and no interrupts, and does not access the media.
 */
struct nvme_dma {
	struct vfio_pci_device *device;
	void *bar;
	void *queues;
	iova_t queues_iova;
	u32 stride;
	u32 ready_timeout_ms;
	u32 cmd_timeout_ms;
	bool running;
	u16 tail;
	u16 head;
	u16 cid;
	bool phase;
};

/*
 * Initialize @nvme for @device. @queues is NVME_DMA_QUEUE_SIZE bytes of memory
 * mapped at @queues_iova. @slowness multiplies the timeouts of the controller.
 *
 * Return: NULL, or the reason why the device cannot be used.
 */
const char *nvme_dma_init(struct nvme_dma *nvme, struct vfio_pci_device *device,
			  void *queues, iova_t queues_iova,
			  unsigned int slowness);

void nvme_dma_stop(struct nvme_dma *nvme);

/*
 * Write Identify Controller data by DMA: from @iova to the end of its page of
 * NVME_DMA_PAGE_SIZE bytes. The data that is left goes to the memory of the
 * queues. @iova must be a multiple of 4. Start the controller if it is not
 * running.
 *
 * Return: 0 if the controller reports success, -EIO if it reports an error,
 * -ENXIO if it did not complete the command and was stopped.
 */
int nvme_dma_write(struct nvme_dma *nvme, iova_t iova);

#endif /* SELFTESTS_IOMMU_NVME_DMA_H */
