package start

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Registers are what vcpu 0 starts with; those not named are zero. It is in kernel mode,
// on the page tables with the root Plan.Tables.First, with RSP as its kernel stack too,
// FS and GS bases of 0, no GDT, LDT or trap table of its own, and its events masked
// (evtchn_upcall_mask is 1, of every vcpu).
type Registers struct {
	RIP, RSP, RSI uint64
	// RFLAGS has IF set: what keeps events away is their mask.
	RFLAGS uint64
	CS, SS uint16
	// DS is that of ES, FS and GS too.
	DS uint16
}

// Registers returns what vcpu 0 starts with (xen.h, "Start-of-day memory layout").
func (p *Plan) Registers() Registers {
	const reserved1, interrupts = 1 << 1, 1 << 9
	r := Registers{
		RIP: uint64(p.Entry), RSP: uint64(p.Virt(p.Stack + 1)), RSI: uint64(p.Virt(p.StartInfo)), RFLAGS: interrupts | reserved1,
		CS: xenabi.FlatKernelCS64, SS: xenabi.FlatKernelSS64, DS: xenabi.FlatKernelDS64,
	}
	if p.Bits == 32 {
		r.CS, r.SS, r.DS = xenabi.FlatKernelCS32, xenabi.FlatKernelSS32, xenabi.FlatKernelDS32
	}
	return r
}

// hypercallStub is the size of one entry of a hypercall page (arch-x86/xen-x86_64.h).
const hypercallStub = 32

// HypercallPage returns the page that a PV kernel calls hypercalls through: entry n, of
// 32 bytes, is hypercall n. A 64-bit one clobbers nothing but argument registers, so RCX
// and R11, which SYSCALL takes, are kept on the stack; iret leaves them there, and RAX,
// where struct iret_context has them.
func HypercallPage(w xenabi.Width) *[mm.PageSize]byte {
	var page [mm.PageSize]byte
	for i := range page {
		page[i] = 0xcc // INT3
	}
	for n := range uint32(mm.PageSize / hypercallStub) {
		var number [4]byte
		binary.LittleEndian.PutUint32(number[:], n)
		var code []byte
		emit := func(b ...byte) { code = append(code, b...) }
		iret := n == xenabi.HypercallIret
		if w == xenabi.Guest32 {
			if iret {
				emit(0x50) // PUSH EAX
			}
			emit(0xb8) // MOV EAX, n
			emit(number[:]...)
			emit(0xcd, 0x82) // INT 82h
			if !iret {
				emit(0xc3) // RET
			}
		} else {
			emit(0x51, 0x41, 0x53) // PUSH RCX; PUSH R11
			if iret {
				emit(0x50) // PUSH RAX
			}
			emit(0xb8) // MOV EAX, n
			emit(number[:]...)
			emit(0x0f, 0x05) // SYSCALL
			if !iret {
				emit(0x41, 0x5b, 0x59, 0xc3) // POP R11; POP RCX; RET
			}
		}
		copy(page[n*hypercallStub:], code)
	}
	return &page
}
