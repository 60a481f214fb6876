package xenabi

// Kinds of mmu_update, the low bits of its Ptr (xen.h).
const (
	MMUNormalPTUpdate      = 0
	MMUMachphysUpdate      = 1
	MMUPTUpdatePreserveAD  = 2
	MMUPTUpdateNoTranslate = 3
)

// Flags of update_va_mapping: the lowest 2 bits are the kind of the flush, the rest says
// which vcpus: UVMFLocal, UVMFAll, or the address of a bitmap (xen.h).
const (
	UVMFNone          = 0
	UVMFTLBFlush      = 1
	UVMFInvlpg        = 2
	UVMFFlushtypeMask = 3
	UVMFLocal         = 0
	UVMFAll           = 4
)

// MMUUpdate is one entry of mmu_update (xen.h, struct mmu_update).
type MMUUpdate struct {
	Ptr uint64
	Val uint64
}

func (s *MMUUpdate) layout(c *codec) {
	c.u64(&s.Ptr)
	c.u64(&s.Val)
}

// MMUExtOp is one entry of mmuext_op. Arg1 is a frame or an address; Arg2 is a number of
// entries in its lower half, an address, or a frame (xen.h, struct mmuext_op).
type MMUExtOp struct {
	Cmd  uint32
	Arg1 uint64
	Arg2 uint64
}

func (s *MMUExtOp) layout(c *codec) {
	c.u32(&s.Cmd)
	c.word(&s.Arg1)
	c.word(&s.Arg2)
}
