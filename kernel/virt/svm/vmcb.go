package svm

// Seg is a segment register in the VMCB (APM vol. 2, appendix B, table B-2).
type Seg struct {
	Selector uint16
	Attr     uint16
	Limit    uint32
	Base     uint64
}

// VMCB is the virtual machine control block (APM vol. 2, appendix B, tables B-1
// and B-2). The offsets are asserted by a test.
type VMCB struct {
	InterceptCR    uint32 // 000h: reads in the low half, writes in the high half
	InterceptDR    uint32
	InterceptExc   uint32
	InterceptMisc1 uint32
	InterceptMisc2 uint32 // 010h
	InterceptMisc3 uint32
	_              [0x3c - 0x18]byte
	PauseThreshold uint16 // 03Ch
	PauseCount     uint16
	IOPMBase       uint64 // 040h
	MSRPMBase      uint64
	TSCOffset      uint64 // 050h
	ASID           uint32
	TLBControl     uint32 // 05Ch, low byte
	VIntr          uint64 // 060h: V_TPR, V_IRQ, ...
	IntShadow      uint64 // 068h: bit 0
	ExitCode       uint64 // 070h
	ExitInfo1      uint64
	ExitInfo2      uint64
	ExitIntInfo    uint64 // 088h
	NestedCtl      uint64 // 090h: bit 0 NP_ENABLE
	_              [0xa8 - 0x98]byte
	EventInj       uint64 // 0A8h
	NCR3           uint64
	LBRVirt        uint64
	Clean          uint64 // 0C0h
	NextRIP        uint64 // 0C8h
	InsnLen        uint8  // 0D0h
	InsnBytes      [15]byte
	_              [0x400 - 0xe0]byte
	ES             Seg // 400h: the state save area
	CS, SS, DS     Seg
	FS, GS         Seg
	GDTR, LDTR     Seg
	IDTR, TR       Seg
	_              [0x4cb - 0x4a0]byte
	CPL            uint8 // 4CBh
	_              [4]byte
	EFER           uint64 // 4D0h
	_              [0x548 - 0x4d8]byte
	CR4            uint64 // 548h
	CR3, CR0       uint64
	DR7, DR6       uint64
	RFLAGS, RIP    uint64
	_              [0x5d8 - 0x580]byte
	RSP            uint64 // 5D8h
	_              [0x5f8 - 0x5e0]byte
	RAX            uint64 // 5F8h
	STAR, LSTAR    uint64
	CSTAR, SFMask  uint64
	KernelGSBase   uint64
	SysenterCS     uint64
	SysenterESP    uint64
	SysenterEIP    uint64
	CR2            uint64 // 640h
	_              [0x668 - 0x648]byte
	GPAT           uint64 // 668h
	DebugCtl       uint64
	BrFrom, BrTo   uint64
	ExcFrom, ExcTo uint64
	_              [0x1000 - 0x698]byte
}

// Bits of InterceptMisc1 (table B-1, offset 00Ch).
const (
	misc1INTR     = 1 << 0
	misc1NMI      = 1 << 1
	misc1VINTR    = 1 << 4
	misc1CR0      = 1 << 5 // writes that change more than TS and MP
	misc1RDTSC    = 1 << 14
	misc1RDPMC    = 1 << 15
	misc1CPUID    = 1 << 18
	misc1RSM      = 1 << 19
	misc1IRET     = 1 << 20
	misc1INVD     = 1 << 22
	misc1PAUSE    = 1 << 23
	misc1HLT      = 1 << 24
	misc1INVLPG   = 1 << 25
	misc1INVLPGA  = 1 << 26
	misc1IOIO     = 1 << 27
	misc1MSR      = 1 << 28
	misc1FERR     = 1 << 30
	misc1SHUTDOWN = 1 << 31

	// misc1Always are the exits without which a guest would reach the host.
	misc1Always = misc1INTR | misc1NMI | misc1RDPMC | misc1CPUID | misc1RSM | misc1INVD | misc1HLT | misc1INVLPGA |
		misc1IOIO | misc1MSR | misc1FERR | misc1SHUTDOWN
)

// Bits of InterceptMisc2 (offset 010h).
const (
	misc2RDTSCP = 1 << 7
	misc2Always = 0x7f | // VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT
		1<<9 | // WBINVD
		1<<10 | 1<<11 | 1<<12 | // MONITOR, MWAIT, armed MWAIT
		1<<13 // XSETBV
)

// excAlways are the exceptions that always exit: #MC is the host's; a guest
// whose handler of #DB or #AC faults by the same again would never let go of
// the CPU otherwise (CVE-2015-8104, CVE-2015-5307).
const excAlways = 1<<1 | 1<<17 | 1<<18

// Fields of VIntr (offset 060h).
const (
	vIRQ         = 1 << 8
	vPrioMax     = 0xf << 16
	vIgnoreTPR   = 1 << 20
	vMasking     = 1 << 24
	vTPRMask     = 0xf
	vVectorShift = 32
	vVectorMask  = 0xff << vVectorShift
	vWindowBits  = vIRQ | vPrioMax | vIgnoreTPR
)

// Values of TLBControl (15.16.1).
const (
	tlbKeep     = 0
	tlbFlushAll = 1
)

// Bits of Clean (15.15.3): a set bit lets the processor use what it has cached.
const (
	cleanIntercepts = 1 << 0 // and TSC offset, pause filter
	cleanMaps       = 1 << 1
	cleanASID       = 1 << 2
	cleanIntr       = 1 << 3
	cleanNested     = 1 << 4 // NCR3, GPAT
	cleanCR         = 1 << 5 // CR0, CR3, CR4, EFER
	cleanDR         = 1 << 6
	cleanTables     = 1 << 7
	cleanSegs       = 1 << 8 // and CPL
	cleanCR2        = 1 << 9
	cleanLBR        = 1 << 10
	cleanAll        = 1<<11 - 1
)
