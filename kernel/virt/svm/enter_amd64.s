//go:build tamago

#include "go_asm.h"
#include "textflag.h"

// The CPU's block under GS (kernel/baremetal): its number, and the physical
// address of its page for VMSAVE.
#define GS_CPU	0x28
#define GS_SAVE	0x80

// Registers in virt.Regs, which is at the start of the context.
#define RCX	8
#define RDX	16
#define RBX	24
#define RBP	40
#define RSI	48
#define RDI	56
#define R_8	64
#define R_9	72
#define R_10	80
#define R_11	88
#define R_12	96
#define R_13	104
#define R_14	112
#define R_15	120

#define FPU	const_fpuOffset

#define CLGI	BYTE $0x0f; BYTE $0x01; BYTE $0xdd
#define STGI	BYTE $0x0f; BYTE $0x01; BYTE $0xdc
#define VMLOAD	BYTE $0x0f; BYTE $0x01; BYTE $0xda
#define VMSAVE	BYTE $0x0f; BYTE $0x01; BYTE $0xdb
#define VMRUN	BYTE $0x0f; BYTE $0x01; BYTE $0xd8

// func interruptsOff() uint64
// It returns the number of the CPU, which stays the same until interruptsOn.
TEXT ·interruptsOff(SB),NOSPLIT,$0-8
	CLI
	MOVQ	GS_CPU(GS), AX
	MOVQ	AX, ret+0(FP)
	RET

// func interruptsOn()
// A pending interrupt is taken here.
TEXT ·interruptsOn(SB),NOSPLIT,$0
	STI
	NOP
	RET

// func setDR7(x uint64)
TEXT ·setDR7(SB),NOSPLIT,$0-8
	MOVQ	x+0(FP), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xf8	// mov dr7, rax
	RET

// func enter(c *context)
// One trip into the guest. Interrupts are off before and after; inside they are
// on for the processor's decision whether to leave the guest (15.21.1: the host's
// IF at VMRUN is what masks physical interrupts then), and GIF keeps them from
// being taken. FS and GS are the guest's between the two pairs of VMLOAD.
TEXT ·enter(SB),NOSPLIT,$40-8
	MOVQ	c+0(FP), DI
	CLGI
	MOVQ	R14, 16(SP)
	MOVQ	DI, 8(SP)
	MOVQ	GS_SAVE(GS), AX
	MOVQ	AX, 0(SP)
	VMSAVE
	STI

	CMPQ	context_drLive(DI), $0
	JEQ	fpuin
	MOVQ	(context_dr+0)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xc0	// mov dr0, rax
	MOVQ	(context_dr+8)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xc8	// mov dr1, rax
	MOVQ	(context_dr+16)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xd0	// mov dr2, rax
	MOVQ	(context_dr+24)(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xd8	// mov dr3, rax
fpuin:
	MOVQ	context_xsave(DI), AX
	TESTQ	AX, AX
	JEQ	fxin
	MOVQ	AX, DX
	SHRQ	$32, DX
	BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xaf; LONG $FPU	// xrstor64 FPU(DI)
	MOVQ	context_guestXCR0(DI), AX
	CMPQ	AX, context_xsave(DI)
	JEQ	regsin
	MOVQ	AX, DX
	SHRQ	$32, DX
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd1	// xsetbv
	JMP	regsin
fxin:
	FXRSTOR64	FPU(DI)
regsin:
	MOVQ	context_vmcbPA(DI), AX
	VMLOAD
	MOVQ	RCX(DI), CX
	MOVQ	RDX(DI), DX
	MOVQ	RBX(DI), BX
	MOVQ	RBP(DI), BP
	MOVQ	RSI(DI), SI
	MOVQ	R_8(DI), R8
	MOVQ	R_9(DI), R9
	MOVQ	R_10(DI), R10
	MOVQ	R_11(DI), R11
	MOVQ	R_12(DI), R12
	MOVQ	R_13(DI), R13
	MOVQ	R_14(DI), R14
	MOVQ	R_15(DI), R15
	MOVQ	RDI(DI), DI
run:
	VMRUN
	MOVQ	DI, 24(SP)
	MOVQ	8(SP), DI

	// The constant hypercall (constant.go) is answered here. AX and DI are free,
	// the rest is the guest's, and GIF is 0. Whoever wants this CPU has sent it an
	// interrupt, so that the next VMRUN comes back at once.
	MOVQ	context_vmcbVA(DI), AX
	CMPL	VMCB_ExitCode(AX), $const_exitVMMCALL
	JNE	exit
	MOVQ	BX, 32(SP)
	MOVQ	VMCB_RAX(AX), BX
	CMPQ	BX, (context_constant+constant_number)(DI)
	JNE	other
	MOVQ	24(SP), BX
	CMPQ	BX, (context_constant+constant_arg)(DI)
	JNE	other
	MOVQ	VMCB_RIP(AX), BX
	CMPQ	BX, (context_constant+constant_callRIP)(DI)
	JNE	other
	MOVQ	VMCB_CR3(AX), BX
	CMPQ	BX, (context_constant+constant_callCR3)(DI)
	JNE	other
	CMPB	VMCB_CPL(AX), $0
	JNE	other
	TESTL	$const_longMode, VMCB_EFER(AX)
	JEQ	other
	TESTW	$const_longCode, (VMCB_CS+Seg_Attr)(AX)
	JEQ	other
	TESTL	$const_notByEntry, VMCB_RFLAGS(AX)
	JNE	other
	TESTB	$1, VMCB_IntShadow(AX)
	JNE	other
	TESTL	$const_eventValid, VMCB_ExitIntInfo(AX)
	JNE	other
	MOVQ	(context_constant+constant_answer)(DI), BX
	MOVQ	BX, VMCB_RAX(AX)
	ADDQ	$const_vmmcallLen, VMCB_RIP(AX)
	MOVQ	$0, VMCB_EventInj(AX)
	MOVB	$const_tlbKeep, VMCB_TLBControl(AX)
	MOVQ	context_vmcbPA(DI), AX
	MOVQ	32(SP), BX
	MOVQ	24(SP), DI
	JMP	run
other:
	MOVQ	32(SP), BX
exit:
	// The emulator's lists of breakpoints are the guest's, and DR7 is hostDR7, by
	// which MOV takes nothing out of them: DR7 becomes the guest's, with none on, by
	// which MOV takes out what is there.
	CMPQ	context_hostDR7(DI), $0
	JEQ	exited
	TESTB	$0xff, VMCB_DR7(AX)
	JEQ	exited
	MOVL	VMCB_DR7(AX), AX
	ANDL	$~0x20ff, AX		// nor is GD
	BYTE $0x0f; BYTE $0x23; BYTE $0xf8	// mov dr7, rax
	MOVQ	context_hostDR7(DI), AX
	BYTE $0x0f; BYTE $0x23; BYTE $0xf8	// mov dr7, rax
exited:
	MOVQ	context_vmcbPA(DI), AX
	VMSAVE
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
	MOVQ	24(SP), BX
	MOVQ	BX, RDI(DI)
	MOVQ	0(SP), AX
	VMLOAD
	CLI

	// nothing of the guest's stays in a register, for speculation
	XORL	BX, BX
	XORL	BP, BP
	XORL	SI, SI
	XORL	R8, R8
	XORL	R9, R9
	XORL	R10, R10
	XORL	R11, R11
	XORL	R12, R12
	XORL	R13, R13
	XORL	R15, R15

	MOVQ	context_xsave(DI), AX
	TESTQ	AX, AX
	JEQ	fxout
	MOVQ	context_guestXCR0(DI), BX
	CMPL	context_freeXCR0(DI), $0
	JEQ	known
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd0	// xgetbv
	SHLQ	$32, DX
	LEAQ	(AX)(DX*1), BX
	MOVQ	context_xsave(DI), AX
	MOVQ	BX, CX
	ANDQ	AX, CX
	MOVQ	CX, context_guestXCR0(DI)
known:
	MOVQ	AX, DX
	SHRQ	$32, DX
	CMPQ	AX, BX
	JEQ	xsave
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd1	// xsetbv
xsave:
	BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xa7; LONG $FPU	// xsave64 FPU(DI)
	JMP	fpuout
fxout:
	FXSAVE64	FPU(DI)
fpuout:
	MOVL	$0x1f80, 24(SP)
	LDMXCSR	24(SP)
	XORPS	X15, X15

	CMPQ	context_drLive(DI), $0
	JEQ	done
	BYTE $0x0f; BYTE $0x21; BYTE $0xc0	// mov rax, dr0
	MOVQ	AX, (context_dr+0)(DI)
	BYTE $0x0f; BYTE $0x21; BYTE $0xc8	// mov rax, dr1
	MOVQ	AX, (context_dr+8)(DI)
	BYTE $0x0f; BYTE $0x21; BYTE $0xd0	// mov rax, dr2
	MOVQ	AX, (context_dr+16)(DI)
	BYTE $0x0f; BYTE $0x21; BYTE $0xd8	// mov rax, dr3
	MOVQ	AX, (context_dr+24)(DI)
done:
	CLD
	MOVQ	16(SP), R14
	STGI
	RET

// func setSavePage(pa uint64)
TEXT ·setSavePage(SB),NOSPLIT,$0-8
	MOVQ	pa+0(FP), AX
	MOVQ	AX, GS_SAVE(GS)
	RET
