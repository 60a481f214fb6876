package xenabi

// VCPUHVMContext32 is the argument of VCPUOP_initialise for PVH with Mode VCPUHVMMode32b
// (hvm/hvm_vcpu.h, struct vcpu_hvm_context).
type VCPUHVMContext32 struct {
	Mode    uint32
	EAX     uint32
	ECX     uint32
	EDX     uint32
	EBX     uint32
	ESP     uint32
	EBP     uint32
	ESI     uint32
	EDI     uint32
	EIP     uint32
	EFLAGS  uint32
	CR0     uint32
	CR3     uint32
	CR4     uint32
	EFER    uint64
	CSBase  uint32
	DSBase  uint32
	SSBase  uint32
	ESBase  uint32
	TRBase  uint32
	CSLimit uint32
	DSLimit uint32
	SSLimit uint32
	ESLimit uint32
	TRLimit uint32
	CSAR    uint16
	DSAR    uint16
	SSAR    uint16
	ESAR    uint16
	TRAR    uint16
}

func (s *VCPUHVMContext32) layout(c *codec) {
	c.u32(&s.Mode)
	c.field(4, 4)
	c.u32(&s.EAX)
	c.u32(&s.ECX)
	c.u32(&s.EDX)
	c.u32(&s.EBX)
	c.u32(&s.ESP)
	c.u32(&s.EBP)
	c.u32(&s.ESI)
	c.u32(&s.EDI)
	c.u32(&s.EIP)
	c.u32(&s.EFLAGS)
	c.u32(&s.CR0)
	c.u32(&s.CR3)
	c.u32(&s.CR4)
	c.field(4, 4)
	c.u64(&s.EFER)
	c.u32(&s.CSBase)
	c.u32(&s.DSBase)
	c.u32(&s.SSBase)
	c.u32(&s.ESBase)
	c.u32(&s.TRBase)
	c.u32(&s.CSLimit)
	c.u32(&s.DSLimit)
	c.u32(&s.SSLimit)
	c.u32(&s.ESLimit)
	c.u32(&s.TRLimit)
	c.u16(&s.CSAR)
	c.u16(&s.DSAR)
	c.u16(&s.SSAR)
	c.u16(&s.ESAR)
	c.u16(&s.TRAR)
	c.field(6, 2)
}

// VCPUHVMContext64 is the argument of VCPUOP_initialise for PVH with Mode VCPUHVMMode64b; it ends with what the 32-bit form has more
// (hvm/hvm_vcpu.h, struct vcpu_hvm_context).
type VCPUHVMContext64 struct {
	Mode   uint32
	RAX    uint64
	RCX    uint64
	RDX    uint64
	RBX    uint64
	RSP    uint64
	RBP    uint64
	RSI    uint64
	RDI    uint64
	RIP    uint64
	RFLAGS uint64
	CR0    uint64
	CR3    uint64
	CR4    uint64
	EFER   uint64
}

func (s *VCPUHVMContext64) layout(c *codec) {
	c.u32(&s.Mode)
	c.field(4, 4)
	c.u64(&s.RAX)
	c.u64(&s.RCX)
	c.u64(&s.RDX)
	c.u64(&s.RBX)
	c.u64(&s.RSP)
	c.u64(&s.RBP)
	c.u64(&s.RSI)
	c.u64(&s.RDI)
	c.u64(&s.RIP)
	c.u64(&s.RFLAGS)
	c.u64(&s.CR0)
	c.u64(&s.CR3)
	c.u64(&s.CR4)
	c.u64(&s.EFER)
	c.field(8, 4)
}

// HVMStartInfo is the start information of a PVH guest, version 1. It is the same for both widths, as the guest starts in 32-bit mode
// (arch-x86/hvm/start_info.h, struct hvm_start_info).
type HVMStartInfo struct {
	Magic         uint32
	Version       uint32
	Flags         uint32
	NrModules     uint32
	ModlistPaddr  uint64
	CmdlinePaddr  uint64
	RSDPPaddr     uint64
	MemmapPaddr   uint64
	MemmapEntries uint32
}

func (s *HVMStartInfo) layout(c *codec) {
	c.u32(&s.Magic)
	c.u32(&s.Version)
	c.u32(&s.Flags)
	c.u32(&s.NrModules)
	c.u64(&s.ModlistPaddr)
	c.u64(&s.CmdlinePaddr)
	c.u64(&s.RSDPPaddr)
	c.u64(&s.MemmapPaddr)
	c.u32(&s.MemmapEntries)
	c.field(4, 4)
}

// HVMModlistEntry is the entry of the module list in HVMStartInfo
// (arch-x86/hvm/start_info.h, struct hvm_modlist_entry).
type HVMModlistEntry struct {
	Paddr        uint64
	Size         uint64
	CmdlinePaddr uint64
	Reserved     uint64
}

func (s *HVMModlistEntry) layout(c *codec) {
	c.u64(&s.Paddr)
	c.u64(&s.Size)
	c.u64(&s.CmdlinePaddr)
	c.u64(&s.Reserved)
}

// HVMMemmapEntry is the entry of the memory map in HVMStartInfo
// (arch-x86/hvm/start_info.h, struct hvm_memmap_table_entry).
type HVMMemmapEntry struct {
	Addr uint64
	Size uint64
	Type uint32
}

func (s *HVMMemmapEntry) layout(c *codec) {
	c.u64(&s.Addr)
	c.u64(&s.Size)
	c.u32(&s.Type)
	c.field(4, 4)
}
