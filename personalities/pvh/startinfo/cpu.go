package startinfo

// Segment is a segment register with its hidden part.
type Segment struct {
	Selector uint16
	// Attributes are the 12 bits of a descriptor as a VMCB holds them: type,
	// S, DPL, P, AVL, L, D/B, G (AMD APM vol. 2, 15.5.1).
	Attributes uint16
	Limit      uint32 // in bytes
	Base       uint64
}

// CPUState is the state in which a PVH guest's first vcpu starts. What is not
// here is as after reset.
type CPUState struct {
	CR0, CR3, CR4, EFER    uint64
	RFLAGS, RIP            uint64
	RBX                    uint64
	CS, DS, ES, SS, FS, GS Segment
	TR, LDTR               Segment
	GDTR, IDTR             Segment // Base and Limit
}

// Bits of the state.
const (
	cr0PE = 1 << 0
	cr0ET = 1 << 4

	rflagsFixed = 1 << 1 // always set

	attrCode32 = 0xc9b // G, D, P, S, execute/read, accessed
	attrData32 = 0xc93 // G, B, P, S, read/write, accessed
	attrTSS32  = 0x08b // P, busy 32-bit TSS
	attrLDT    = 0x082
)

// BootState returns the first vcpu's state (docs/misc/pvh, "x86/HVM direct
// boot ABI"): protected mode without paging, flat 32-bit segments, interrupts
// off, EBX at hvm_start_info, EIP at the kernel's PHYS32_ENTRY.
func (plan *Plan) BootState(entry uint32) CPUState {
	// Selectors are "unspecified": the guest loads its own.
	code := Segment{Selector: 0x8, Attributes: attrCode32, Limit: 0xffffffff}
	data := Segment{Selector: 0x10, Attributes: attrData32, Limit: 0xffffffff}
	return CPUState{
		CR0:    cr0PE | cr0ET,
		RFLAGS: rflagsFixed,
		RIP:    uint64(entry),
		RBX:    uint64(plan.StartInfo),
		CS:     code,
		DS:     data, ES: data, SS: data, FS: data, GS: data,
		TR:   Segment{Selector: 0x18, Attributes: attrTSS32, Limit: 0x67},
		LDTR: Segment{Attributes: attrLDT},
	}
}
