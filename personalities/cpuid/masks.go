package cpuid

// Single bits that code refers to.
const (
	ecxX2APIC      = 1 << 21
	ecxTSCDeadline = 1 << 24
	ecxXSAVE       = 1 << 26
	ecxOSXSAVE     = 1 << 27
	ecxHypervisor  = 1 << 31
	edxAPIC        = 1 << 9
	edxHTT         = 1 << 28
	extCmpLegacy   = 1 << 1
	ext1G          = 1 << 26
	extRDTSCP      = 1 << 27
	extLM          = 1 << 29
	xsaveC         = 1 << 1
	ebxIBPB        = 1 << 12

	xcr0Allowed = 7 // x87, SSE, AVX
	xsaveLegacy = 576
	xsaveAVX    = 256
)

func set(bits ...uint) (m uint32) {
	for _, b := range bits {
		m |= 1 << b
	}
	return m
}

// mask is the policy's table: which bits of the host's answer reach a guest,
// and which are set whatever the host says, as the hypervisor emulates what
// they promise. What is not listed is never offered; in particular: MONITOR,
// VMX, SVM, performance counters, SMX, thermal and power features, DCA,
// protection keys, CET, AVX-512, AMX, SGX, MPX, RTM, LA57, XSAVES, and speculation
// controls that have MSRs, but for AMD's IBPB, whose MSR is only a command.
type mask struct {
	leaf, sub  uint32
	allow, set Regs
}

const all = ^uint32(0)

// masks returns the table. (A function, as the features are spelled by bit.)
func masks() []mask {
	return []mask{
		// Vendor; EAX is set by limits.
		{leaf: 0, allow: Regs{0, all, all, all}},
		{leaf: 1, allow: Regs{
			A: 0x0fff3fff,
			B: 0x0000ffff, // brand and CLFLUSH size; the rest is topology
			// SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND
			C: set(0, 1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 28, 29, 30),
			// FPU VME DE PSE TSC MSR PAE CX8 SEP PGE CMOV PSE36 CLFSH MMX FXSR SSE SSE2 SS
			D: set(0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 15, 17, 19, 23, 24, 25, 26, 27),
		}, set: Regs{
			C: ecxX2APIC | ecxHypervisor,
			D: set(7, 9, 12, 14, 16), // MCE APIC MTRR MCA PAT: emulated
		}},
		{leaf: 2, allow: Regs{all, all, all, all}}, // cache descriptors
		{leaf: 4, sub: 0, allow: cacheMask}, {leaf: 4, sub: 1, allow: cacheMask},
		{leaf: 4, sub: 2, allow: cacheMask}, {leaf: 4, sub: 3, allow: cacheMask},
		{leaf: 6, set: Regs{A: set(2)}}, // ARAT: the emulated APIC timer never stops
		{leaf: 7, sub: 0, allow: Regs{
			// FSGSBASE BMI1 AVX2 FDP SMEP BMI2 ERMS INVPCID FCS/FDS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA
			B: set(0, 3, 5, 6, 7, 8, 9, 10, 13, 18, 19, 20, 23, 24, 29),
			C: set(2, 9, 10, 22), // UMIP VAES VPCLMUL RDPID
			D: set(4, 10, 14),    // FSRM MD_CLEAR SERIALIZE
		}, set: Regs{
			A: 1,
			B: set(1), // TSC_ADJUST: emulated
		}},
		// AVX_VNNI, fast zero-length REP MOVSB, short REP STOSB, short REP CMPSB
		{leaf: 7, sub: 1, allow: Regs{A: set(4, 10, 11, 12)}},
		{leaf: 0xd, sub: 0, allow: Regs{A: xcr0Allowed}},
		{leaf: 0xd, sub: 1, allow: Regs{A: set(0, 1, 2)}}, // XSAVEOPT XSAVEC XGETBV1
		{leaf: 0xd, sub: 2, allow: Regs{A: all, B: all}},
		{leaf: 0x80000000, allow: Regs{0, all, all, all}},
		{leaf: 0x80000001, allow: Regs{
			A: all, B: 0,
			// LAHF CR8 LZCNT SSE4A MISALIGN PREFETCHW XOP FMA4 TBM TOPOEXT
			C: set(0, 4, 5, 6, 7, 8, 11, 16, 21, 22),
			// AMD's copy of leaf 1, SYSCALL NX MMXEXT FFXSR 1G RDTSCP LM 3DNOWEXT 3DNOW
			D: set(0, 1, 2, 3, 4, 5, 6, 8, 13, 15, 17, 23, 24, 11, 20, 22, 25, 26, 27, 29, 30, 31),
		}},
		{leaf: 0x80000002, allow: Regs{all, all, all, all}}, // brand
		{leaf: 0x80000003, allow: Regs{all, all, all, all}},
		{leaf: 0x80000004, allow: Regs{all, all, all, all}},
		{leaf: 0x80000005, allow: Regs{all, all, all, all}}, // caches and TLBs
		{leaf: 0x80000006, allow: Regs{all, all, all, all}},
		{leaf: 0x80000007},
		// CLZERO XSAVEERPTR WBNOINVD IBPB (package virt opens its MSR)
		{leaf: 0x80000008, allow: Regs{A: 0xffff, B: set(0, 2, 9, 12)}},
		{leaf: 0x80000019, allow: Regs{A: all, B: all}}, // 1 GiB TLBs
		{leaf: 0x8000001a, allow: Regs{A: set(0, 1, 2)}},
		{leaf: 0x8000001d, sub: 0, allow: cacheMask}, {leaf: 0x8000001d, sub: 1, allow: cacheMask},
		{leaf: 0x8000001d, sub: 2, allow: cacheMask}, {leaf: 0x8000001d, sub: 3, allow: cacheMask},
		{leaf: 0x8000001e, allow: Regs{A: all}},
		// LFENCE serialises, VERW clears buffers, null selectors clear bases; no need of VERW
		{leaf: 0x80000021, allow: Regs{A: set(2, 5, 6), C: set(1, 2)}},
	}
}

// cacheMask drops who shares a cache (EAX 31:14): every vcpu has its own.
var cacheMask = Regs{A: 0x3fff, B: all, C: all, D: 7}
