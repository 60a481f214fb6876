//go:build tamago

// Package cpu executes the processor's instructions that several packages of the
// kernel need and Go has no words for. A function in assembly is the instruction and
// nothing else; all may be called with interrupts off and without a P (NOSPLIT).
//
// Reference: AMD64 APM volume 3 (24594).
package cpu

// Selectors of ring 0's flat segments, the same in every GDT (kernel/baremetal).
const (
	KernelCode = 0xe008
	KernelData = 0xe010
)

// ReadMSR executes RDMSR. An MSR that the processor doesn't have is a fault.
func ReadMSR(msr uint32) uint64

// WriteMSR executes WRMSR.
func WriteMSR(msr uint32, v uint64)

// CPUID executes CPUID with EAX leaf and ECX sub.
func CPUID(leaf, sub uint32) (a, b, c, d uint32)

// UnderTCG tells whether QEMU's TCG emulates the processor, by the leaf of
// hypervisors. docs/exit.md says what is otherwise there.
func UnderTCG() bool {
	_, b, c, d := CPUID(0x40000000, 0)
	return b == 0x54474354 && c == 0x43544743 && d == 0x47435447 // "TCGTCGTCGTCG"
}

// HasPCID tells whether the processor has PCIDs: whether CR4.PCIDE can be set.
func HasPCID() bool {
	_, _, c, _ := CPUID(1, 0)
	return c>>17&1 != 0
}

// CR0 reads the register.
func CR0() uint64

// CR3 reads the register.
func CR3() uint64

// CR4 reads the register.
func CR4() uint64

// XCR0 executes XGETBV. Preconditions: CR4.OSXSAVE.
func XCR0() uint64

// SetXCR0 executes XSETBV. Preconditions: CR4.OSXSAVE.
func SetXCR0(v uint64)

// HostXCR0 returns the components of the FPU's state that XSAVE keeps; 0: CR4.OSXSAVE is off.
func HostXCR0() uint64 {
	const osxsave = 1 << 18
	if CR4()&osxsave == 0 {
		return 0
	}
	return XCR0()
}

// MXCSRMask returns MXCSR_MASK as FXSAVE tells it; 0 means the oldest processors'
// mask (AMD64 APM volume 2, 11.5.6).
func MXCSRMask() uint32 {
	var b [512 + 16]byte
	fxsave(&b)
	m := uint32(b[28]) | uint32(b[29])<<8 | uint32(b[30])<<16 | uint32(b[31])<<24
	if m == 0 {
		return 0xffbf
	}
	return m
}

func fxsave(p *[512 + 16]byte)

// ClearBuffers executes VERW with a selector in memory, which on a processor that
// says so (package spec) also overwrites its buffers.
func ClearBuffers()
