package hypercall

import (
	"encoding/binary"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
)

// What xen_version tells (version.h). Guests decide by the version what they may
// use, so it is Xen's: the one whose interface this is.
const (
	versionMajor = 4
	versionMinor = 17
	extraversion = ".nidus"
	changeset    = "nidus"
	denied       = "<denied>"
)

// Constant is xen_version's XENVER_version, which Linux calls for its side effect
// alone: events are taken on the way back.
var Constant = virt.Constant{Number: xenabi.HypercallXenVersion, Arg: xenabi.XenVerVersion, Answer: versionMajor<<16 | versionMinor}

// Sizes of what version.h calls xen_*_t.
const (
	extraversionSize = 16
	capabilitiesSize = 1024
	changesetSize    = 64
)

const hvmFeatures = 1<<xenabi.XenFeatWritablePageTables |
	1<<xenabi.XenFeatAutoTranslatedPhysmap |
	1<<xenabi.XenFeatHVMCallbackVector |
	1<<xenabi.XenFeatHVMSafePvclock |
	1<<xenabi.XenFeatMemoryOpVnodeSupported |
	1<<xenabi.XenFeatNotDirectMapped

const pvFeatures = 1<<xenabi.XenFeatMMUPTUpdatePreserveAD |
	1<<xenabi.XenFeatHighmemAssist |
	1<<xenabi.XenFeatGnttabMapAvailBits |
	1<<xenabi.XenFeatMemoryOpVnodeSupported |
	1<<xenabi.XenFeatNotDirectMapped

func xenVersion(c *call) int64 {
	cmd, arg := uint32(c.arg[0]), c.arg[1]
	switch cmd {
	case xenabi.XenVerVersion:
		return versionMajor<<16 | versionMinor
	case xenabi.XenVerExtraversion:
		return c.text(arg, extraversion, extraversionSize)
	case xenabi.XenVerCompileInfo: // compiler, by, domain, date
		b := c.buf[:64+16+32+32]
		clear(b)
		copy(b, "Go")
		copy(b[64:], "nidus")
		return c.out(arg, b)
	case xenabi.XenVerCapabilities:
		return c.text(arg, c.d.Host.Capabilities(), capabilitiesSize)
	case xenabi.XenVerChangeset:
		return c.text(arg, changeset, changesetSize)
	case xenabi.XenVerPlatformParameters:
		p := &xenabi.PlatformParameters{VirtStart: xenabi.HypervisorVirtStart64}
		if c.w == xenabi.Guest32 {
			p.VirtStart = xenabi.HypervisorVirtStart32
		}
		return c.write(arg, p)
	case xenabi.XenVerGetFeatures:
		return c.features(arg)
	case xenabi.XenVerPagesize:
		if arg != 0 {
			return errno(xenabi.EINVAL)
		}
		return 4096
	case xenabi.XenVerGuestHandle:
		return c.out(arg, append(c.buf[:0], c.d.UUID[:]...))
	case xenabi.XenVerCommandline:
		return c.text(arg, denied, len(denied)+1)
	case xenabi.XenVerBuildID:
		return errno(xenabi.ENODATA)
	}
	return c.unknown("xen_version", uint64(cmd))
}

// text writes s, with zeros up to size.
func (c *call) text(a uint64, s string, size int) int64 {
	b := c.buf[:size]
	clear(b)
	copy(b, s)
	return c.out(a, b)
}

func (c *call) features(a uint64) int64 {
	b, ok := c.in(a, 8) // submap_idx, submap
	if !ok {
		return errno(xenabi.EFAULT)
	}
	if binary.LittleEndian.Uint32(b) >= xenabi.XenFeatNrSubmaps {
		return errno(xenabi.EINVAL)
	}
	f := uint32(hvmFeatures)
	if v := c.v.PV; v != nil {
		f = pvFeatures
		if v.Assist.Load()>>xenabi.VMAssistTypePAEExtendedCR3&1 != 0 {
			f |= 1 << xenabi.XenFeatPAEPgDirAbove4GB
		}
	}
	binary.LittleEndian.PutUint32(b[4:], f)
	return c.out(a, b)
}
