//go:build tamago

#include "go_asm.h"
#include "gs_amd64.h"
#include "regs_amd64.h"
#include "textflag.h"

// func interruptsOff() uint64
// It returns the number of the CPU, which stays the same until interrupts are on.
TEXT ·interruptsOff(SB),NOSPLIT,$0-8
	CLI
	MOVQ	GS_CPU(GS), AX
	MOVQ	AX, ret+0(FP)
	RET

// func interruptsOn()
TEXT ·interruptsOn(SB),NOSPLIT,$0
	STI
	NOP
	RET

// func setCPU(gdtr uint64)
TEXT ·setCPU(SB),NOSPLIT,$0-8
	MOVQ	gdtr+0(FP), AX
	MOVQ	AX, GS_GDTR(GS)
	MOVQ	CR4, AX
	ANDQ	$const_cr4Guest, AX
	MOVQ	AX, GS_CR4(GS)
	RET

// func enter(c *context)
// One trip into the guest. Interrupts are off before and after; the guest runs with
// them on. An interrupt that ends the trip has been taken from the APIC, and is for
// the caller to pass on: c.vec.
//
// Preconditions: c.cr3 is a validated root, RFLAGS in c is what a guest may have, CPU
// and thread stay what they are.
TEXT ·enter(SB),NOSPLIT,$16-8
	MOVQ	c+0(FP), DI
	MOVQ	R14, 0(SP)
	CALL	trip<>(SB)
	MOVQ	0(SP), R14
	MOVL	$0x1f80, 8(SP)
	LDMXCSR	8(SP)
	XORPS	X15, X15
	RET

// trip enters the guest whose context is in DI. Who comes back from there returns to
// trip's caller: by hostSP.
TEXT trip<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	SP, context_hostSP(DI)
	MOVQ	DI, GS_CTX(GS)

	CMPQ	context_fsgsbase(DI), $0
	JEQ	slowfs
	RDFSBASE_AX
	JMP	havefs
slowfs:
	RDMSR_AX(MSR_FS)
havefs:
	MOVQ	AX, context_hostFS(DI)

	MOVQ	context_cr3(DI), AX
	MOVQ	CR3, CX
	CMPQ	AX, CX
	JNE	load
	CMPQ	context_reload(DI), $0
	JNE	load
	MOVQ	context_npages(DI), CX
page:
	TESTQ	CX, CX
	JEQ	viewed
	SUBQ	$1, CX
	MOVQ	context_pages(DI)(CX*8), AX
	INVLPG	(AX)
	JMP	page
load:
	ORQ	context_keep(DI), AX
	MOVQ	AX, CR3
viewed:
	MOVQ	$0, GS_KEPT(GS)
	MOVQ	$0, context_reload(DI)
	MOVQ	$0, context_npages(DI)
	MOVQ	$0, context_fast(DI)
	LGDT	context_gdtLimit(DI)
	MOVQ	context_ldt(DI), AX
	MOVQ	GS_LDT(GS), CX
	ORQ	AX, CX
	JEQ	noldt
	MOVQ	AX, GS_LDT(GS)
	MOVQ	$1, GS_RISKY(GS)
	LLDT_AX
noldt:
	MOVQ	context_xsave(DI), AX
	TESTQ	AX, AX
	JEQ	fxin
	LEAQ	FPU(DI), DX
	CMPQ	DX, GS_FPU(GS)
	JNE	whole
	// Go uses SSE only: the rest is as the guest left it.
	MOVUPS	(FPU+160)(DI), X0
	MOVUPS	(FPU+176)(DI), X1
	MOVUPS	(FPU+192)(DI), X2
	MOVUPS	(FPU+208)(DI), X3
	MOVUPS	(FPU+224)(DI), X4
	MOVUPS	(FPU+240)(DI), X5
	MOVUPS	(FPU+256)(DI), X6
	MOVUPS	(FPU+272)(DI), X7
	MOVUPS	(FPU+288)(DI), X8
	MOVUPS	(FPU+304)(DI), X9
	MOVUPS	(FPU+320)(DI), X10
	MOVUPS	(FPU+336)(DI), X11
	MOVUPS	(FPU+352)(DI), X12
	MOVUPS	(FPU+368)(DI), X13
	MOVUPS	(FPU+384)(DI), X14
	MOVUPS	(FPU+400)(DI), X15
	LDMXCSR	(FPU+24)(DI)
	JMP	xcr0
whole:
	MOVQ	DX, GS_FPU(GS)
	MOVQ	AX, DX
	SHRQ	$32, DX
	BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xaf; LONG $FPU	// xrstor64 FPU(DI)
xcr0:
	MOVQ	context_xcr0(DI), AX
	CMPQ	AX, context_xsave(DI)
	JEQ	ts
	MOVQ	AX, DX
	SHRQ	$32, DX
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd1	// xsetbv
	JMP	ts
fxin:
	FXRSTOR64	FPU(DI)
ts:
	MOVQ	context_cr4(DI), AX
	CMPQ	AX, GS_CR4(GS)
	JEQ	cr4
	MOVQ	AX, GS_CR4(GS)
	MOVQ	CR4, CX
	ANDQ	$~const_cr4Guest, CX
	ORQ	AX, CX
	MOVQ	CX, CR4
cr4:
	CMPQ	context_ts(DI), $0
	JEQ	debug
	MOVQ	CR0, AX
	ORQ	$8, AX
	MOVQ	AX, CR0
debug:
	CMPQ	context_drLive(DI), $0
	JEQ	selectors
	MOVQ	(context_dr+0)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xc0	// mov dr0, rax
	MOVQ	(context_dr+8)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xc8	// mov dr1, rax
	MOVQ	(context_dr+16)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xd0	// mov dr2, rax
	MOVQ	(context_dr+24)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xd8	// mov dr3, rax
	MOVQ	context_dr6(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xf0	// mov dr6, rax
	BYTE $0x0f; BYTE $0x21; BYTE $0xf8	// mov rax, dr7
	MOVQ	AX, context_hostDR7(DI)
	MOVQ	context_dr7(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xf8	// mov dr7, rax
selectors:

	// Selectors. What is in the registers is 0, but for what was loaded before a fault.
	MOVQ	$1, GS_RISKY(GS)
	MOVQ	context_ds(DI), AX
	TESTQ	AX, AX
	JEQ	es
	MOVW	AX, DS
es:
	MOVQ	context_es(DI), AX
	TESTQ	AX, AX
	JEQ	fs
	MOVW	AX, ES
fs:
	MOVQ	context_fs(DI), AX
	TESTQ	AX, AX
	JEQ	gs
	MOVW	AX, FS
	CMPQ	context_narrow(DI), $0
	JEQ	gs
	CMPQ	context_fsgsbase(DI), $0
	JEQ	slowfsbase
	RDFSBASE_AX
	MOVQ	AX, context_fsBase(DI)	// 32-bit code has no other than the descriptor's
	JMP	gs
slowfsbase:
	RDMSR_AX(MSR_FS)
	MOVQ	AX, context_fsBase(DI)
gs:
	MOVQ	context_gs(DI), AX
	TESTQ	AX, AX
	JEQ	bases
	MOVQ	GS_SELF(GS), BX
	MOVW	AX, GS		// its base is another now, until the next instructions
	CMPQ	context_fsgsbase(DI), $0
	JEQ	slowself
	RDGSBASE_AX
	WRGSBASE_BX
	JMP	gsbase
slowself:
	RDMSR_AX(MSR_GS)
	MOVQ	AX, SI
	MOVQ	BX, AX
	WRMSR_AX(MSR_GS)
	MOVQ	SI, AX
gsbase:
	CMPQ	context_narrow(DI), $0
	JEQ	bases
	MOVQ	AX, context_gsBase(DI)
bases:
	MOVQ	$0, GS_RISKY(GS)
	FRAMED
	CMPQ	context_fsgsbase(DI), $0
	JEQ	slowbases
	MOVQ	context_fsBase(DI), AX
	WRFSBASE_AX
	MOVQ	context_gsBase(DI), AX
	SWAPGS
	WRGSBASE_AX
	JMP	regs
slowbases:
	MOVQ	context_fsBase(DI), AX
	WRMSR_AX(MSR_FS)
	MOVQ	context_gsBase(DI), AX
	WRMSR_AX(MSR_KGS)
	SWAPGS
regs:
	MOVQ	RCX(DI), CX
	MOVQ	R_11(DI), R11
	LOADED
	MOVQ	context_isolated(DI), AX
	TESTQ	AX, AX
	JNE	isolated
	MOVQ	RAX(DI), AX
	MOVQ	RDI(DI), DI
	JMP	iret<>(SB)
isolated:
	PUSHQ	RAX(DI)
	MOVQ	RDI(DI), DI
	JMP	isolate<>(SB)

// A fault here is the guest's doing: see baremetal.SetGuestEntry.
TEXT iret<>(SB),NOSPLIT|NOFRAME,$0
	IRETQ

// An exception or interrupt of the guest's. GS is ours; on the stack are vector, error
// code, and the processor's frame.
TEXT trapped<>(SB),NOSPLIT|NOFRAME,$0
	PUSHQ	DI
	MOVQ	GS_CTX(GS), DI
	MOVQ	AX, RAX(DI)
	MOVQ	CX, RCX(DI)
	MOVQ	DX, RDX(DI)
	MOVQ	BX, RBX(DI)
	MOVQ	BP, RBP(DI)
	MOVQ	SI, RSI(DI)
	MOVQ	R8, R_8(DI)
	MOVQ	R9, R_9(DI)
	MOVQ	R10, R_10(DI)
	MOVQ	R11, R_11(DI)
	MOVQ	R12, R_12(DI)
	MOVQ	R13, R_13(DI)
	MOVQ	R14, R_14(DI)
	MOVQ	R15, R_15(DI)
	POPQ	RDI(DI)
	POPQ	context_vec(DI)
	POPQ	context_err(DI)
	POPQ	RIP(DI)
	POPQ	context_cs(DI)
	POPQ	RFLAGS(DI)
	POPQ	RSP(DI)
	POPQ	context_ss(DI)
	CMPQ	context_vec(DI), $14
	JNE	out
	MOVQ	CR2, AX
	MOVQ	AX, context_cr2(DI)
	JMP	fast<>(SB)
out:
	JCC	leaving
	JMP	fast<>(SB)
leaving:
	JMP	leave<>(SB)

// SYSCALLED begins at a SYSCALL: RIP is in RCX, RFLAGS in R11, and nothing is ours yet. NOTED
// notes what came in the context, which SP is from here on.
#define SYSCALLED \
	SWAPGS; \
	MOVQ	SP, GS_SCRATCH(GS)

#define NOTED(vec, cs) \
	MOVQ	GS_CTX(GS), SP; \
	MOVQ	$vec, context_vec(SP); \
	MOVQ	$cs, context_cs(SP); \
	JMP	syscall<>(SB)

// OPENED loads the page tables with the context.
#define OPENED \
	MOVQ	GS_OPEN(GS), SP; \
	MOVQ	SP, CR3

// SYSCALL of 64-bit code, and of 32-bit code.
TEXT syscalled<>(SB),NOSPLIT|NOFRAME,$0
	SYSCALLED
	NOTED(const_vecSyscall, const_SelCode64)

TEXT syscalled32<>(SB),NOSPLIT|NOFRAME,$0
	SYSCALLED
	NOTED(const_vecSyscall32, const_SelCode32)

// While an isolated guest runs, the page tables show of this package's code isolate, iret and the
// two entries after it, with what else is in these pages: baremetal.ShowIsolated.

// isolate leaves to the guest by iret, with the isolated root in AX and RAX on the stack.
TEXT isolate<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	AX, CR3
	POPQ	AX
	JMP	iret<>(SB)

// SYSCALL under the isolated root: the context isn't there yet.
TEXT syscalledIsolated<>(SB),NOSPLIT|NOFRAME,$0
	SYSCALLED
	OPENED
	NOTED(const_vecSyscall, const_SelCode64)

TEXT syscalled32Isolated<>(SB),NOSPLIT|NOFRAME,$0
	SYSCALLED
	OPENED
	NOTED(const_vecSyscall32, const_SelCode32)

TEXT syscall<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	AX, RAX(SP)
	MOVQ	CX, RCX(SP)
	MOVQ	CX, RIP(SP)
	MOVQ	DX, RDX(SP)
	MOVQ	BX, RBX(SP)
	MOVQ	BP, RBP(SP)
	MOVQ	SI, RSI(SP)
	MOVQ	DI, RDI(SP)
	MOVQ	R8, R_8(SP)
	MOVQ	R9, R_9(SP)
	MOVQ	R10, R_10(SP)
	MOVQ	R11, R_11(SP)
	MOVQ	R11, RFLAGS(SP)
	MOVQ	R12, R_12(SP)
	MOVQ	R13, R_13(SP)
	MOVQ	R14, R_14(SP)
	MOVQ	R15, R_15(SP)
	MOVQ	SP, DI
	MOVQ	GS_SCRATCH(GS), AX
	MOVQ	AX, RSP(DI)
	MOVQ	$const_SelData, context_ss(DI)
	JMP	fast<>(SB)

// fast has fastExit do the exit of the context in DI, if it can, and goes back to the guest.
// General registers are in the context, segment bases are brought there and back; all else of
// the guest's stays in the processor, so that the Go code must not use what that is: SSE's registers, but for
// X15, which its compiler takes for 0 (TestFastExit in images/builder). GS is ours, interrupts are off.
TEXT fast<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	context_slow(DI), AX
	ORQ	context_ts(DI), AX
	ORQ	context_drLive(DI), AX
	JNE	leaving
	CMPQ	context_vec(DI), $const_vecSyscall
	JNE	try
	MOVQ	context_vcpu(DI), AX
	MOVQ	(vcpu_gate+Guest_Gate)(AX), AX
	TESTQ	AX, AX
	JEQ	leaving
	CMPB	Gate_UserMode(AX), $0
	JNE	try
	MOVQ	RAX(DI), AX
	MOVQ	$const_fastCalls, CX
	CMPQ	AX, $63
	JHI	refused
	BTQ	AX, CX
	JCC	refused
try:
	CLD
	MOVQ	GS_CR4(GS), AX
	ANDQ	$(1<<21), AX	// CR4.SMAP
	JEQ	bases
	CLAC
bases:
	BASED
	MOVQ	context_hostFS(DI), AX
	WRFSBASE_AX
	MOVQ	GS_ENTRY(GS), SP
	SUBQ	$const_fastStack, SP	// a fault of copy's begins at the top
	MOVQ	context_vcpu(DI), AX
	MOVQ	AX, 0(SP)
	MOVQ	DI, 16(SP)
	MOVQ	context_hostSP(DI), AX
	MOVQ	AX, 24(SP)
	MOVUPS	X15, 32(SP)
	SCRUBBED
	CALL	·fastExit(SB)
	MOVQ	16(SP), DI
	MOVQ	24(SP), AX
	MOVQ	AX, context_hostSP(DI)
	MOVUPS	32(SP), X15
	MOVQ	8(SP), BX
	MOVQ	BX, context_fast(DI)
	CMPQ	BX, $const_fastReturn
	JCS	toGo

	MOVQ	context_cr3(DI), AX
	MOVQ	CR3, CX
	CMPQ	AX, CX
	JEQ	viewed
	ORQ	context_keep(DI), AX
	MOVQ	AX, CR3
viewed:
	MOVQ	context_fsBase(DI), AX
	WRFSBASE_AX
	MOVQ	context_gsBase(DI), AX
	CMPQ	BX, $const_fastSysret
	JEQ	sysret
	FRAMED
	SWAPGS
	WRGSBASE_AX
	MOVQ	RCX(DI), CX
	MOVQ	R_11(DI), R11
	LOADED
	MOVQ	RAX(DI), AX
	MOVQ	RDI(DI), DI
	JMP	iret<>(SB)
sysret:
	SWAPGS
	WRGSBASE_AX
	MOVQ	RIP(DI), CX
	MOVQ	RFLAGS(DI), R11
	LOADED
	MOVQ	RAX(DI), AX
	MOVQ	RSP(DI), SP
	MOVQ	RDI(DI), DI
	BYTE	$0x48; BYTE $0x0f; BYTE $0x07	// sysretq
toGo:
	CLD
	JMP	selectors<>(SB)
refused:
	MOVQ	$const_fastRefused, context_fast(DI)
leaving:
	JMP	leave<>(SB)

// What of the guest is still in the processor goes to the context in DI, and the host's
// comes back; then it returns as enter. GS is ours, interrupts are off.
TEXT leave<>(SB),NOSPLIT|NOFRAME,$0
	CLD
	// bases before selectors: loading one may change the other
	CMPQ	context_fsgsbase(DI), $0
	JEQ	slow
	BASED
	JMP	selectors<>(SB)
slow:
	RDMSR_AX(MSR_FS)
	MOVQ	AX, context_fsBase(DI)
	RDMSR_AX(MSR_KGS)
	MOVQ	AX, context_gsBase(DI)
	JMP	selectors<>(SB)

// selectors is the rest of leave: the bases are in the context.
TEXT selectors<>(SB),NOSPLIT|NOFRAME,$0
	XORL	AX, AX
	MOVW	DS, AX
	MOVQ	AX, context_ds(DI)
	MOVW	ES, AX
	MOVQ	AX, context_es(DI)
	MOVW	FS, AX
	MOVQ	AX, context_fs(DI)
	MOVW	GS, AX
	MOVQ	AX, context_gs(DI)
	JMP	host<>(SB)

// The descriptors of the guest's that a selector means, or its RIP, are not good: GS is
// ours, and the context still holds the registers.
TEXT faulted<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	GS_CTX(GS), DI
	CMPQ	GS_RISKY(GS), $2
	MOVQ	$0, GS_RISKY(GS)	// the flags stay
	JEQ	unreachable
	MOVQ	$const_vecBadState, context_vec(DI)
	MOVQ	CR2, AX		// it may be a page of the LDT that isn't mapped yet
	MOVQ	AX, context_cr2(DI)
	CMPQ	context_fast(DI), $const_fastReturn
	JCC	kept		// they never left the processor
	JMP	host<>(SB)
kept:
	JMP	selectors<>(SB)
unreachable:	// what copy was at
	MOVQ	context_hostSP(DI), SP
	TESTQ	DX, DX
	JEQ	copied
	CLAC
copied:
	XORL	AX, AX
	RET

// host brings the host's state back. No selector of the guest's stays: the host's GDT
// has other descriptors there.
TEXT host<>(SB),NOSPLIT|NOFRAME,$0
	XORL	CX, CX
	MOVW	DS, AX
	TESTW	AX, AX
	JEQ	es
	MOVW	CX, DS
es:
	MOVW	ES, AX
	TESTW	AX, AX
	JEQ	fs
	MOVW	CX, ES
fs:
	MOVW	FS, AX
	TESTW	AX, AX
	JEQ	gs
	MOVW	CX, FS
gs:
	MOVW	GS, AX
	TESTW	AX, AX
	JEQ	tables
	MOVQ	GS_SELF(GS), BX
	MOVW	CX, GS
	CMPQ	context_fsgsbase(DI), $0
	JEQ	slowself
	WRGSBASE_BX
	JMP	tables
slowself:
	MOVQ	BX, AX
	WRMSR_AX(MSR_GS)
tables:
	MOVQ	GS_GDTR(GS), AX
	LGDT	(AX)
	CMPQ	context_ts(DI), $0
	JEQ	fpu
	CLTS
fpu:
	MOVQ	GS_CR4(GS), AX
	ANDQ	$(1<<21), AX	// CR4.SMAP
	JEQ	xsave
	CLAC			// an exception leaves RFLAGS.AC as the guest had it
xsave:
	MOVQ	context_xsave(DI), AX
	TESTQ	AX, AX
	JEQ	fxout
	CMPQ	AX, context_xcr0(DI)
	JEQ	sse
	MOVQ	AX, DX
	SHRQ	$32, DX
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd1	// xsetbv
sse:
	MOVUPS	X0, (FPU+160)(DI)
	MOVUPS	X1, (FPU+176)(DI)
	MOVUPS	X2, (FPU+192)(DI)
	MOVUPS	X3, (FPU+208)(DI)
	MOVUPS	X4, (FPU+224)(DI)
	MOVUPS	X5, (FPU+240)(DI)
	MOVUPS	X6, (FPU+256)(DI)
	MOVUPS	X7, (FPU+272)(DI)
	MOVUPS	X8, (FPU+288)(DI)
	MOVUPS	X9, (FPU+304)(DI)
	MOVUPS	X10, (FPU+320)(DI)
	MOVUPS	X11, (FPU+336)(DI)
	MOVUPS	X12, (FPU+352)(DI)
	MOVUPS	X13, (FPU+368)(DI)
	MOVUPS	X14, (FPU+384)(DI)
	MOVUPS	X15, (FPU+400)(DI)
	STMXCSR	(FPU+24)(DI)
	ORQ	$2, (FPU+512)(DI)	// XSTATE_BV: the image has SSE's state
	JMP	saved
fxout:
	FXSAVE64	FPU(DI)
saved:
	CMPQ	context_vec(DI), $1
	JNE	breakpoints
	BYTE $0x0f; BYTE $0x21; BYTE $0xf0	// mov rax, dr6: why
	MOVQ	AX, context_dr6(DI)
breakpoints:
	CMPQ	context_drLive(DI), $0
	JEQ	nodebug
	MOVQ	context_hostDR7(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xf8	// mov dr7, rax
nodebug:
	CMPQ	context_hostView(DI), $0
	JEQ	view
	MOVQ	GS_CR3(GS), AX
	MOVQ	CR3, CX
	CMPQ	AX, CX
	JEQ	view		// of an isolated guest
	MOVQ	AX, CR3
view:
	CMPQ	context_narrow(DI), $0
	JEQ	protected
	MOVQ	context_hostCR4(DI), AX	// SMEP and SMAP are on again
	CMPQ	AX, GS_CR4(GS)
	JEQ	protected
	MOVQ	AX, GS_CR4(GS)
	MOVQ	CR4, CX
	ANDQ	$~const_cr4Guest, CX
	ORQ	AX, CX
	MOVQ	CX, CR4
protected:
	MOVQ	context_hostFS(DI), AX
	CMPQ	context_fsgsbase(DI), $0
	JEQ	slowfs
	WRFSBASE_AX
	JMP	back
slowfs:
	WRMSR_AX(MSR_FS)
back:
	MOVQ	context_hostSP(DI), SP
	SCRUBBED
	RET

// func entries() (trap, fault, iret, syscall, syscall32, flush uint64)
TEXT ·entries(SB),NOSPLIT,$0-48
	MOVQ	$trapped<>(SB), AX
	MOVQ	AX, trap+0(FP)
	MOVQ	$faulted<>(SB), AX
	MOVQ	AX, fault+8(FP)
	MOVQ	$iret<>(SB), AX
	MOVQ	AX, iret+16(FP)
	MOVQ	$syscalled<>(SB), AX
	MOVQ	AX, syscall+24(FP)
	MOVQ	$syscalled32<>(SB), AX
	MOVQ	AX, syscall32+32(FP)
	MOVQ	$context_flush, AX
	MOVQ	AX, flush+40(FP)
	RET

// func isolatedEntries() (isolate, syscall, syscall32 uint64)
TEXT ·isolatedEntries(SB),NOSPLIT,$0-24
	MOVQ	$isolate<>(SB), AX
	MOVQ	AX, isolate+0(FP)
	MOVQ	$syscalledIsolated<>(SB), AX
	MOVQ	AX, syscall+8(FP)
	MOVQ	$syscalled32Isolated<>(SB), AX
	MOVQ	AX, syscall32+16(FP)
	RET
