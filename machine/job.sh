# SPDX-License-Identifier: GPL-2.0
# Functions for jobs (shell scripts run by /init as /job). /tests contains the
# files of the job, /out is a directory of the run on the host.
#
# /run/devices has a line for each PCI function behind an SMMU:
#	BDF SMMU-NUMBER GROUP VENDOR:DEVICE CLASS IOMMU
# SMMUs are numbered in the order of their buses.

list_devices() {
	local dev bdf iommu seen= number=-1
	for dev in /sys/bus/pci/devices/*; do
		[ -e "$dev/iommu" ] || continue
		case $(cat "$dev/class") in 0x06*) continue ;; esac
		bdf=${dev##*/}
		iommu=$(readlink "$dev/iommu"); iommu=${iommu##*/}
		case " $seen " in
		*" $iommu "*) ;;
		*) seen="$seen $iommu"; number=$((number + 1)) ;;
		esac
		echo "$bdf $number $(basename "$(readlink "$dev/iommu_group")")" \
			"$(cut -c3- "$dev/vendor"):$(cut -c3- "$dev/device")" \
			"$(cat "$dev/class") $iommu"
	done
}

# devices [SMMU [CLASS-PREFIX]]: the BDFs behind one SMMU or all SMMUs
# Classes: 0x0108 an NVMe controller, 0x00ff an iommu-testdev.
devices() {
	awk -v smmu="$1" -v class="$2" \
		'(smmu == "" || $2 == smmu) && (class == "" || index($5, class) == 1) { print $1 }' /run/devices
}

# smmus: the numbers of all SMMUs with devices
smmus() { cut -d' ' -f2 /run/devices | sort -un; }

# bind_vfio BDF...: bind the functions to vfio-pci
bind_vfio() {
	local bdf
	for bdf; do
		echo vfio-pci >"/sys/bus/pci/devices/$bdf/driver_override" || return 1
		[ -e "/sys/bus/pci/devices/$bdf/driver" ] &&
			echo "$bdf" >"/sys/bus/pci/devices/$bdf/driver/unbind"
		echo "$bdf" >/sys/bus/pci/drivers_probe
		[ "$(basename "$(readlink "/sys/bus/pci/devices/$bdf/driver")")" = vfio-pci ] || {
			echo "##problem $bdf did not bind to vfio-pci"
			return 1
		}
	done
}

# vfio_cdev BDF: the /dev/vfio/devices/ node of a bound function
vfio_cdev() { echo "/dev/vfio/devices/$(ls "/sys/bus/pci/devices/$1/vfio-dev")"; }

# run NAME CMD...: run a program with (K)TAP output, which is one stream between
# the two markers. No results or a bad status are failures.
run() {
	local name=$1 status
	shift
	echo
	echo "##begin $name"
	"$@"
	status=$?
	echo
	echo "##done $name $status"
	return $status
}

# stress_devices: print arguments for arm_smmu_v3_stress, a disk of each SMMU and
# the other devices, which are bound to vfio-pci
stress_devices() {
	local smmu disk bdfs=
	for smmu in $(smmus); do
		set -- $(devices $smmu 0x0108)
		disk=$(echo /sys/bus/pci/devices/$1/nvme/nvme*/nvme*n1)
		echo "--disk /dev/${disk##*/}"
		shift
		bdfs="$bdfs $(devices $smmu 0x00ff) $*"
	done
	# stdout is for the arguments only
	bind_vfio $bdfs >&2 || return 1
	echo $bdfs
}

# leaks [REGEX]: report memory leaks found by kmemleak, except those whose backtrace
# (" < f < caller < ...") matches. kmemleak reports an object only after two scans
# some seconds apart.
leaks() {
	local file=/sys/kernel/debug/kmemleak
	echo scan >$file && sleep 6 && echo scan >$file || {
		echo "##problem there was no scan for leaks: this kernel is without kmemleak, or it has switched itself off"
		return 1
	}
	list_leaks "$1" <$file
}

list_leaks() {
	awk -v known="$1" '
		function tell() {
			if (object && known && trace ~ known)
				excused++
			else if (object)
				print "##problem leak: " object trace
		}
		/^unreferenced object/ { tell(); object = $0; trace = "" }
		/^  comm / { object = object $0 }
		/\+0x[0-9a-f]*\/0x/ { sub(/\+0x.*/, ""); trace = trace " < " $NF }
		END { tell(); print "# leaks: " excused + 0 " known" }'
}
