# SPDX-License-Identifier: GPL-2.0
# What a job (a shell script run by /init as /job) may use. /tests holds the
# files given with the job, /out is a directory of the run on the host.
#
# /run/devices has a line for each PCI function behind an SMMU:
#	BDF SMMU-NUMBER GROUP VENDOR:DEVICE CLASS IOMMU
# SMMUs are numbered in the order of their buses, as the machine was described.

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

# devices [SMMU [CLASS-PREFIX]]: the BDFs behind one SMMU, or behind all.
# Classes: 0x0108 an NVMe controller, 0x00ff an iommu-testdev.
devices() {
	awk -v smmu="$1" -v class="$2" \
		'(smmu == "" || $2 == smmu) && (class == "" || index($5, class) == 1) { print $1 }' /run/devices
}

# smmus: the numbers of the SMMUs that have devices.
smmus() { cut -d' ' -f2 /run/devices | sort -un; }

# bind_vfio BDF...: take the functions from their drivers, give them to vfio-pci.
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

# vfio_cdev BDF: the /dev/vfio/devices/ node of a bound function.
vfio_cdev() { echo "/dev/vfio/devices/$(ls "/sys/bus/pci/devices/$1/vfio-dev")"; }

# run NAME CMD...: a program that speaks (K)TAP. What it says between the two
# markers is one stream; no result at all or a bad status is a failure.
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

# stress_devices: for each SMMU a disk, as options for arm_smmu_v3_stress, and the
# other devices; those that it shall have are bound to vfio-pci.
stress_devices() {
	local smmu disk bdfs=
	for smmu in $(smmus); do
		set -- $(devices $smmu 0x0108)
		disk=$(echo /sys/bus/pci/devices/$1/nvme/nvme*/nvme*n1)
		echo "--disk /dev/${disk##*/}"
		shift
		bdfs="$bdfs $(devices $smmu 0x00ff) $*"
	done
	# What is said on stdout here is an option, not a word to the harness.
	bind_vfio $bdfs >&2 || return 1
	echo $bdfs
}

# leaks [REGEX]: what the kernel has allocated and lost is a problem each, but for
# those whose backtrace (" < f < caller < ...") matches. A single scan tells
# nothing: it takes two, some seconds apart, to be sure of an object.
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
