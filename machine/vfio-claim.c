// SPDX-License-Identifier: GPL-2.0
/*
 * Attach a device to an empty IOAS by VFIO while a command runs.
 *
 *	vfio-claim CDEV COMMAND
 *
 * Prints "claim ERRNO" and, if that is 0, "attach ERRNO", and runs the shell
 * command.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>

int main(int argc, char **argv)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	int device, iommufd;

	if (argc != 3)
		return 2;
	device = open(argv[1], O_RDWR);
	iommufd = open("/dev/iommu", O_RDWR);
	if (device < 0 || iommufd < 0 || ioctl(iommufd, IOMMU_IOAS_ALLOC, &ioas)) {
		perror(argv[1]);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	bind.iommufd = iommufd;
	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
		printf("claim %d\n", errno);
		return 0;
	}
	printf("claim 0\n");
	attach.pt_id = ioas.out_ioas_id;
	printf("attach %d\n", ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) ? errno : 0);
	return system(argv[2]);
}
