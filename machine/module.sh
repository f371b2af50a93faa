# SPDX-License-Identifier: GPL-2.0
# The job of the check 'module'. The driver cannot be removed while tests or devices use it.

load() { for m; do insmod /tests/$m.ko || echo "##problem $m does not load"; done; }
cd /tests
load arm_smmu_v3
list_devices >/run/devices
[ "$(smmus | wc -l)" = 2 ] || echo "##problem SMMUs with devices: $(smmus)"
load arm-smmu-v3-test arm_smmu_v3_kunit
rmmod arm_smmu_v3 2>/dev/null && echo "##problem the driver was removed while its tests use it"
rmmod arm_smmu_v3_kunit && rmmod arm_smmu_v3_test || echo "##problem the tests cannot be removed"
rmmod arm_smmu_v3 2>/dev/null && echo "##problem the driver was removed while devices use it"
bdfs=$(devices '' 0x0108)
bind_vfio $bdfs && run arm_smmu_v3 arm_smmu_v3 $bdfs
