// SPDX-License-Identifier: GPL-2.0
/*
 * A PCI device with ATS and PASID for the fake SMMU: a function on a root bus of
 * its own, whose config space is ordinary memory. It has only the registers that
 * the PCI core uses for ATS and PASID.
 */
#include <linux/pci.h>

#include "fake.h"

#define FAKE_PCIE_CAP	0x40
#define FAKE_ATS_CAP	0x100
#define FAKE_PASID_CAP	0x110

struct fake_pci {
	struct pci_bus bus;
	u8 config[PCI_CFG_SPACE_EXP_SIZE];
};

static int fake_pci_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	struct fake_pci *fp = container_of(bus, struct fake_pci, bus);

	*val = 0;
	while (size--)
		*val = *val << 8 | fp->config[where + size];
	return PCIBIOS_SUCCESSFUL;
}

static int fake_pci_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	struct fake_pci *fp = container_of(bus, struct fake_pci, bus);

	for (; size--; val >>= 8)
		fp->config[where++] = val;
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops fake_pci_ops = {
	.read = fake_pci_read,
	.write = fake_pci_write,
};

static void fake_pci_release(struct device *dev)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	struct fake_pci *fp = container_of(pdev->bus, struct fake_pci, bus);

	pci_free_host_bridge(to_pci_host_bridge(fp->bus.bridge));
	kfree(fp);
	kfree(pdev);
}

/* Allocate a device for arm_smmu_fake_add_pci_master() */
struct device *arm_smmu_fake_pci_alloc(struct arm_smmu_fake *fake, u32 sid,
				       unsigned int ssid_bits)
{
	struct pci_host_bridge *bridge = pci_alloc_host_bridge(0);
	struct fake_pci *fp = kzalloc_obj(*fp);
	struct pci_dev *pdev = pci_alloc_dev(NULL);

	KUNIT_ASSERT_TRUE(fake->test, bridge && fp && pdev);
	fp->bus.ops = &fake_pci_ops;
	fp->bus.bridge = &bridge->dev;
	INIT_LIST_HEAD(&fp->bus.devices);

	pdev->bus = &fp->bus;
	pdev->cfg_size = PCI_CFG_SPACE_EXP_SIZE;
	/* A single function that is a root complex integrated endpoint needs no ACS */
	pdev->pcie_cap = FAKE_PCIE_CAP;
	pdev->pcie_flags_reg = FIELD_PREP(PCI_EXP_FLAGS_TYPE, PCI_EXP_TYPE_RC_END);
	device_initialize(&pdev->dev);
	pdev->dev.bus = &pci_bus_type;
	pdev->dev.parent = fake->smmu.dev;
	pdev->dev.release = fake_pci_release;
	pdev->dev.dma_mask = &pdev->dma_mask;
	pdev->dev.dma_parms = &pdev->dma_parms;
	dev_set_name(&pdev->dev, "%s-pci%u", dev_name(fake->smmu.dev), sid);

	pdev->ats_cap = FAKE_ATS_CAP;
	pci_write_config_dword(pdev, FAKE_ATS_CAP,
			       PCI_EXT_CAP_ID_ATS | 1 << 16 |
			       (ssid_bits ? FAKE_PASID_CAP << 20 : 0));
	if (!ssid_bits)
		return &pdev->dev;
	pdev->pasid_cap = FAKE_PASID_CAP;
	pdev->eetlp_prefix_max = 1;
	pci_write_config_dword(pdev, FAKE_PASID_CAP, PCI_EXT_CAP_ID_PASID | 1 << 16);
	pci_write_config_word(pdev, FAKE_PASID_CAP + PCI_PASID_CAP,
			      FIELD_PREP(PCI_PASID_CAP_WIDTH, ssid_bits));
	return &pdev->dev;
}

u16 arm_smmu_fake_pci_ats_ctrl(struct device *dev)
{
	u16 ctrl;

	pci_read_config_word(to_pci_dev(dev), FAKE_ATS_CAP + PCI_ATS_CTRL, &ctrl);
	return ctrl;
}
