// SPDX-License-Identifier: GPL-2.0
/*
 * A PCI device with ATS and PASID for the fake SMMU: a function on a root bus of
 * its own. Of its config space only the PASID capability is not zero.
 */
#include <linux/pci.h>

#include "fake.h"

#define FAKE_PCIE_CAP	0x40
#define FAKE_ATS_CAP	0x100
#define FAKE_PASID_CAP	0x110

struct fake_pci {
	struct pci_bus bus;
	u32 pasid_cap;
};

static int fake_pci_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	struct fake_pci *fp = container_of(bus, struct fake_pci, bus);

	*val = where == FAKE_PASID_CAP + PCI_PASID_CAP ? fp->pasid_cap : 0;
	return PCIBIOS_SUCCESSFUL;
}

static int fake_pci_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops fake_pci_ops = {
	.read = fake_pci_read,
	.write = fake_pci_write,
};

static void fake_pci_release(struct device *dev)
{
	struct pci_dev *pdev = to_pci_dev(dev);

	pci_free_host_bridge(to_pci_host_bridge(pdev->bus->bridge));
	kfree(pdev);
}

/* Allocate a device for arm_smmu_fake_add_pci_master() */
struct device *arm_smmu_fake_pci_alloc(struct arm_smmu_fake *fake, u32 sid,
				       unsigned int ssid_bits)
{
	struct pci_host_bridge *bridge = pci_alloc_host_bridge(sizeof(struct fake_pci));
	struct pci_dev *pdev = pci_alloc_dev(NULL);
	struct fake_pci *fp;

	KUNIT_ASSERT_TRUE(fake->test, bridge && pdev);
	fp = pci_host_bridge_priv(bridge);
	fp->bus.ops = &fake_pci_ops;
	fp->bus.bridge = &bridge->dev;
	INIT_LIST_HEAD(&fp->bus.devices);

	pdev->bus = &fp->bus;
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
	pdev->pasid_cap = ssid_bits ? FAKE_PASID_CAP : 0;
	pdev->eetlp_prefix_max = 1;
	fp->pasid_cap = FIELD_PREP(PCI_PASID_CAP_WIDTH, ssid_bits);
	return &pdev->dev;
}
