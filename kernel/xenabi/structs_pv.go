package xenabi

// Start-of-day values of a PV guest (xen.h).
const (
	// StartMagic64 and StartMagic32 are what StartInfo.Magic holds.
	StartMagic64 = "xen-3.0-x86_64"
	StartMagic32 = "xen-3.0-x86_32p"
	// MaxGuestCmdline is the size of StartInfo.Cmdline, with its final zero.
	MaxGuestCmdline = 1024

	SIFPrivileged   = 1 << 0
	SIFInitDomain   = 1 << 1
	SIFMultibootMod = 1 << 2
	SIFModStartPFN  = 1 << 3
	SIFVirtP2M      = 1 << 4 // SIF_VIRT_P2M_4TOOLS
)

// StartInfo is what the first vcpu of a PV guest finds by its RSI, with the domU half of
// the union
// (xen.h, struct start_info).
type StartInfo struct {
	Magic         [32]byte
	NrPages       uint64
	SharedInfo    uint64 // machine address
	Flags         uint32 // SIF*
	StoreMFN      uint64
	StoreEvtchn   uint32
	ConsoleMFN    uint64
	ConsoleEvtchn uint32
	PTBase        uint64 // virtual address
	NrPTFrames    uint64
	MFNList       uint64 // virtual address
	ModStart      uint64 // virtual address, or a PFN with SIFModStartPFN
	ModLen        uint64
	Cmdline       [MaxGuestCmdline]byte
	FirstP2MPFN   uint64
	NrP2MFrames   uint64
}

func (s *StartInfo) layout(c *codec) {
	c.chars(s.Magic[:])
	c.word(&s.NrPages)
	c.word(&s.SharedInfo)
	c.u32(&s.Flags)
	c.word(&s.StoreMFN)
	c.u32(&s.StoreEvtchn)
	c.word(&s.ConsoleMFN)
	c.u32(&s.ConsoleEvtchn)
	c.word(&s.PTBase)
	c.word(&s.NrPTFrames)
	c.word(&s.MFNList)
	c.word(&s.ModStart)
	c.word(&s.ModLen)
	c.chars(s.Cmdline[:])
	c.word(&s.FirstP2MPFN)
	c.word(&s.NrP2MFrames)
}

// XenMultibootMod is the entry of the list that begins a package of modules
// (SIFMultibootMod); addresses count from the package's start, and an entry with ModStart
// 0 ends the list
// (xen.h, struct xen_multiboot_mod_list).
type XenMultibootMod struct {
	ModStart uint32
	ModEnd   uint32 // the last byte
	Cmdline  uint32
}

func (s *XenMultibootMod) layout(c *codec) {
	c.u32(&s.ModStart)
	c.u32(&s.ModEnd)
	c.u32(&s.Cmdline)
	c.field(4, 4)
}
