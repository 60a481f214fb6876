//go:build tamago

// The ways into the kernel: a call of the runtime, an interrupt or exception,
// the boot of a CPU; and the one way out, kexit. docs/boot.md walks through it.

#include "go_asm.h"
#include "textflag.h"

#define MSR_FS 0xc0000100
#define MSR_GS 0xc0000101

// SETFS loads the FS base from AX; clobbers AX, CX, DX.
#define SETFS \
	CMPL	·fsgsbase(SB), $0; \
	JEQ	7(PC); \
	BYTE	$0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xd0; /* wrfsbase rax */ \
	JMP	5(PC); \
	MOVQ	AX, DX; \
	SHRQ	$32, DX; \
	MOVL	$MSR_FS, CX; \
	WRMSR

// callEntry is what the runtime's SYSCALL became: number in AX, arguments in DI,
// SI, DX, R10, R8, R9; CX and R11 are free. All else is preserved, as Linux does.
TEXT ·callEntry(SB),NOSPLIT|NOFRAME,$0
	POPQ	CX
	PUSHFQ
	POPQ	R11
	CLI
	MOVQ	CX, pcpu_scratch(GS)
	MOVQ	pcpu_cur(GS), CX
	MOVQ	R11, thread_rflags(CX)
	MOVQ	pcpu_scratch(GS), R11
	MOVQ	R11, thread_rip(CX)
	MOVQ	SP, thread_rsp(CX)
	MOVQ	AX, thread_rax(CX)
	MOVQ	BX, thread_rbx(CX)
	MOVQ	DX, thread_rdx(CX)
	MOVQ	SI, thread_rsi(CX)
	MOVQ	DI, thread_rdi(CX)
	MOVQ	BP, thread_rbp(CX)
	MOVQ	R8, thread_r8(CX)
	MOVQ	R9, thread_r9(CX)
	MOVQ	R10, thread_r10(CX)
	MOVQ	R12, thread_r12(CX)
	MOVQ	R13, thread_r13(CX)
	MOVQ	R14, thread_r14(CX)
	MOVQ	R15, thread_r15(CX)
	MOVQ	$0, thread_fxvalid(CX)
	MOVQ	$-1, thread_vec(CX)
	JMP	kenter<>(SB)

// setFS(DI: FS base): the runtime's settls. The base is noted first, so that an
// interrupt between the two instructions loads it as well.
TEXT ·setFS(SB),NOSPLIT|NOFRAME,$0
	MOVQ	pcpu_cur(GS), CX
	MOVQ	DI, thread_fsbase(CX)
	MOVQ	DI, AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_FS, CX
	WRMSR
	RET

// The current thread's registers are saved. Go's thread-local slot is not
// touched: an exiting thread's m may be in other hands already.
TEXT kenter<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	pcpu_kstack(GS), SP
	MOVQ	pcpu_kfs(GS), AX
	SETFS
	MOVQ	$1, pcpu_inkernel(GS)
	CLD
	XORL	BP, BP
	XORPS	X15, X15
	SUBQ	$64, SP
	MOVQ	$·kentry(SB), AX
	CALL	AX
	JMP	kexit<>(SB)

// kexit resumes the thread that pcpu.cur names.
TEXT kexit<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	pcpu_cur(GS), BX
	MOVQ	thread_fsbase(BX), AX
	SETFS
	MOVQ	$0, pcpu_inkernel(GS)
	CMPQ	thread_fxvalid(BX), $0
	JEQ	nofx
	FXRSTOR64	thread_fx(BX)
	JMP	regs
nofx:
	XORPS	X15, X15
regs:
	MOVQ	pcpu_kstack(GS), SP
	PUSHQ	$const_selData
	PUSHQ	thread_rsp(BX)
	PUSHQ	thread_rflags(BX)
	PUSHQ	$const_selCode
	PUSHQ	thread_rip(BX)
	MOVQ	thread_rax(BX), AX
	MOVQ	thread_rcx(BX), CX
	MOVQ	thread_rdx(BX), DX
	MOVQ	thread_rsi(BX), SI
	MOVQ	thread_rdi(BX), DI
	MOVQ	thread_rbp(BX), BP
	MOVQ	thread_r8(BX), R8
	MOVQ	thread_r9(BX), R9
	MOVQ	thread_r10(BX), R10
	MOVQ	thread_r11(BX), R11
	MOVQ	thread_r12(BX), R12
	MOVQ	thread_r13(BX), R13
	MOVQ	thread_r14(BX), R14
	MOVQ	thread_r15(BX), R15
	MOVQ	thread_rbx(BX), BX
	IRETQ

// Stack, which is this CPU's entry stack (IST 1): vector, error code, and what
// the CPU pushed. A PV guest's trap goes on in kernel/virt/pv, with its registers
// as they are, but for GS, which is ours. So does a fault of the kernel's that a
// guest's descriptors caused.
TEXT ·trap(SB),NOSPLIT|NOFRAME,$0
	TESTB	$3, 24(SP)
	JNE	guest
	PUSHQ	AX
	MOVQ	24(SP), AX
	CMPQ	AX, ·guestIRET(SB)
	JEQ	returning
	POPQ	AX
	CMPQ	pcpu_risky(GS), $0
	JNE	loading
	CMPQ	pcpu_inkernel(GS), $0
	JNE	nested
	PUSHQ	CX
	MOVQ	pcpu_cur(GS), CX
	MOVQ	AX, thread_rax(CX)
	POPQ	AX
	MOVQ	AX, thread_rcx(CX)
	POPQ	AX
	MOVQ	AX, thread_vec(CX)
	POPQ	AX
	MOVQ	AX, thread_err(CX)
	POPQ	AX
	MOVQ	AX, thread_rip(CX)
	POPQ	AX
	POPQ	AX
	MOVQ	AX, thread_rflags(CX)
	POPQ	AX
	MOVQ	AX, thread_rsp(CX)
	MOVQ	BX, thread_rbx(CX)
	MOVQ	DX, thread_rdx(CX)
	MOVQ	SI, thread_rsi(CX)
	MOVQ	DI, thread_rdi(CX)
	MOVQ	BP, thread_rbp(CX)
	MOVQ	R8, thread_r8(CX)
	MOVQ	R9, thread_r9(CX)
	MOVQ	R10, thread_r10(CX)
	MOVQ	R11, thread_r11(CX)
	MOVQ	R12, thread_r12(CX)
	MOVQ	R13, thread_r13(CX)
	MOVQ	R14, thread_r14(CX)
	MOVQ	R15, thread_r15(CX)
	MOVQ	$1, pcpu_inkernel(GS)	// a fault from here on is the kernel's
	FXSAVE64	thread_fx(CX)
	MOVQ	$1, thread_fxvalid(CX)
	JMP	kenter<>(SB)
nested:
	JMP	·fatalTrap(SB)
guest:
	SWAPGS
	PUSHQ	·guestTrap(SB)	// a jump that changes no register
	BYTE	$0xc3		// ret
returning:	// IRETQ into the guest: GS is the guest's already
	SWAPGS
loading:	// of a segment register
	PUSHQ	·guestFault(SB)
	BYTE	$0xc3

// #DB, on a stack of its own: a guest's MOV SS before SYSCALL or INT delays its trap until
// the kernel's first instruction, where nothing is ours yet but the frame. Then it is
// dropped: the guest's next instruction traps again (APM vol. 2, 8.2.2).
TEXT ·debug(SB),NOSPLIT|NOFRAME,$0
	PUSHQ	$0
	PUSHQ	$1
	TESTB	$3, 24(SP)
	JNE	normal
	PUSHQ	AX
	MOVQ	24(SP), AX
	CMPQ	AX, ·guestSYSCALL(SB)
	JEQ	drop
	CMPQ	AX, ·guestSYSCALL32(SB)
	JEQ	drop
	SUBQ	·gates(SB), AX
	CMPQ	AX, $(256*const_stubSize)
	JCS	drop	// below: in the stubs, which for the kernel no breakpoint is in
	POPQ	AX
normal:
	JMP	·trap(SB)
drop:
	POPQ	AX
	ADDQ	$16, SP
	IRETQ

// TakeInterrupt(vector uint64): as if the CPU took that interrupt here, with
// interrupts on after it. Preconditions: interrupts are off.
TEXT ·TakeInterrupt(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	8(SP), BX
	MOVQ	SP, AX
	PUSHQ	$const_selData
	PUSHQ	AX
	PUSHQ	$const_interruptOn
	PUSHQ	$const_selCode
	MOVQ	$taken<>(SB), AX
	PUSHQ	AX
	PUSHQ	$0
	PUSHQ	BX
	JMP	·trap(SB)

TEXT taken<>(SB),NOSPLIT|NOFRAME,$0
	RET

// A trap that no thread can be blamed for: inside the kernel, or #DF, or #MC.
// It is shown on the console and the machine stops. SP: vector, error code,
// frame.
TEXT ·fatalTrap(SB),NOSPLIT|NOFRAME,$0
	TESTB	$3, 24(SP)
	JEQ	ours
	SWAPGS
ours:
	PUSHQ	R15
	PUSHQ	R14
	PUSHQ	R13
	PUSHQ	R12
	PUSHQ	R11
	PUSHQ	R10
	PUSHQ	R9
	PUSHQ	R8
	PUSHQ	BP
	PUSHQ	DI
	PUSHQ	SI
	PUSHQ	DX
	PUSHQ	CX
	PUSHQ	BX
	PUSHQ	AX
	CLD
	MOVQ	SP, BX
	MOVQ	pcpu_kfs(GS), AX
	SETFS
	XORPS	X15, X15
	ANDQ	$~15, SP
	SUBQ	$64, SP
	MOVQ	BX, 0(SP)
	MOVQ	$·fatalDump(SB), AX
	CALL	AX
stop:
	CLI
	HLT
	JMP	stop

// NMI, on a stack of its own: it may come at any instruction, in the kernel and
// between a guest's registers and ours. So it believes nothing but the stack,
// whose top word is this CPU's block.
TEXT ·nmi(SB),NOSPLIT|NOFRAME,$0
	PUSHQ	$0
	PUSHQ	$2
	PUSHQ	R15
	PUSHQ	R14
	PUSHQ	R13
	PUSHQ	R12
	PUSHQ	R11
	PUSHQ	R10
	PUSHQ	R9
	PUSHQ	R8
	PUSHQ	BP
	PUSHQ	DI
	PUSHQ	SI
	PUSHQ	DX
	PUSHQ	CX
	PUSHQ	BX
	PUSHQ	AX
	CLD
	MOVL	$MSR_FS, CX
	RDMSR
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, R12
	MOVL	$MSR_GS, CX
	RDMSR
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, R13
	MOVQ	SP, BX
	MOVQ	(22*8)(SP), R14		// above 17 pushes and the frame's 5 words
	MOVQ	R14, AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_GS, CX
	WRMSR
	MOVQ	pcpu_kfs(R14), AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_FS, CX
	WRMSR
	SUBQ	$544, SP
	ANDQ	$~15, SP
	FXSAVE64	32(SP)
	XORPS	X15, X15
	MOVQ	BX, 0(SP)
	MOVQ	BX, 16(SP)
	MOVQ	$·nmiEntry(SB), AX
	CALL	AX
	FXRSTOR64	32(SP)
	MOVQ	16(SP), SP
	MOVQ	R13, AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_GS, CX
	WRMSR
	MOVQ	R12, AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_FS, CX
	WRMSR
	POPQ	AX
	POPQ	BX
	POPQ	CX
	POPQ	DX
	POPQ	SI
	POPQ	DI
	POPQ	BP
	POPQ	R8
	POPQ	R9
	POPQ	R10
	POPQ	R11
	POPQ	R12
	POPQ	R13
	POPQ	R14
	POPQ	R15
	ADDQ	$16, SP
	CMPQ	48(SP), $0	// above the word above the frame: see isolated_amd64.s
	JNE	isolated
	IRETQ
isolated:
	MOVQ	48(SP), SP
	JMP	·fromNMI(SB)

// The idle thread, with nothing to look for: interrupts are off before. What comes ends it (rest).
TEXT idle<>(SB),NOSPLIT|NOFRAME,$0
loop:
	STI
	HLT
	INT	$const_vecIdle	// an NMI came back here
	JMP	loop

// The idle thread, polling: interrupts are on. No PAUSE: QEMU's TCG leaves its loop for that, and takes a lock.
TEXT idlePoll<>(SB),NOSPLIT|NOFRAME,$0
loop:
	CMPL	pcpu_resched(GS), $0
	JNE	found
	MOVQ	pcpu_flushWant(GS), AX
	CMPQ	AX, pcpu_flushDone(GS)
	JNE	found
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	CMPQ	AX, pcpu_pollEnd(GS)
	JCS	loop
found:
	INT	$const_vecIdle
	JMP	loop

// bootEntry is the image's ELF entry: the stub comes here in 64-bit mode, with
// the physical address of its handover block in RDI.
TEXT bootEntry(SB),NOSPLIT|NOFRAME,$0
	CLI
	MOVQ	DI, ·handover(SB)
	MOVQ	$·pages(SB), BX	// CPU 0's block is its second whole page
	ADDQ	$0x1fff, BX
	ANDQ	$~0xfff, BX
	MOVQ	BX, pcpu_self(BX)
	MOVQ	BX, AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_GS, CX
	WRMSR
	LEAQ	(pcpu_tls+8)(BX), AX
	MOVQ	AX, pcpu_kfs(BX)
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_FS, CX
	WRMSR
	LEAQ	pcpu_kg(BX), R14
	MOVQ	R14, pcpu_tls(BX)
	MOVQ	$·bootStack(SB), AX
	MOVQ	AX, 0(R14)
	MOVQ	AX, 16(R14)
	MOVQ	AX, 24(R14)
	ADDQ	$((64<<10)-64), AX
	MOVQ	AX, 8(R14)
	MOVQ	AX, SP
	XORPS	X15, X15
	XORL	BP, BP
	SUBQ	$64, SP
	MOVQ	$·boot0(SB), AX
	CALL	AX
	MOVQ	·initsp(SB), SP
	XORL	BP, BP
	PUSHQ	$const_interruptOn
	POPFQ
	JMP	_rt0_amd64_linux(SB)

// apEntry: an application processor, from the trampoline, in 64-bit mode. RDI is
// its block, which is complete.
TEXT apEntry<>(SB),NOSPLIT|NOFRAME,$0
	CLI
	MOVQ	DI, R12
	MOVQ	DI, AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_GS, CX
	WRMSR
	MOVQ	pcpu_kfs(R12), AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	$MSR_FS, CX
	WRMSR
	MOVQ	pcpu_kstack(R12), SP
	LEAQ	pcpu_kg(R12), R14
	XORPS	X15, X15
	XORL	BP, BP
	SUBQ	$64, SP
	MOVQ	$·apBoot(SB), AX
	CALL	AX
	JMP	kexit<>(SB)

TEXT ·trapStubsPC(SB),NOSPLIT,$0-8
	MOVQ	$·trapStubs(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·idlePC(SB),NOSPLIT,$0-8
	MOVQ	$idle<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·idlePollPC(SB),NOSPLIT,$0-8
	MOVQ	$idlePoll<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·apEntryPC(SB),NOSPLIT,$0-8
	MOVQ	$apEntry<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// The 256 gates' targets: push an error code where the CPU does not, push the vector.
#define NOERR(v)	PCALIGN $16; PUSH0; PUSHV(v); JMP ·trap(SB)
#define ERR(v)	PCALIGN $16; PUSHV(v); JMP ·trap(SB)
#define DEBUG(v)	PCALIGN $16; JMP ·debug(SB)
#define NMI(v)	PCALIGN $16; JMP ·nmi(SB)
#define DOUBLE(v)	PCALIGN $16; PUSHV(v); JMP ·fatalTrap(SB)
#define MACHINE(v)	PCALIGN $16; PUSH0; PUSHV(v); JMP ·fatalTrap(SB)

TEXT ·trapStubs(SB),NOSPLIT|NOFRAME,$0
#include "stubs_amd64.h"
