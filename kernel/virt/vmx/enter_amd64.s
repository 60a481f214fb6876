//go:build tamago

#include "go_asm.h"
#include "textflag.h"

#define GS_CPU	0x28
#define FPU	const_fpuOffset

TEXT ·interruptsOff(SB),NOSPLIT,$0-8
	CLI
	MOVQ	GS_CPU(GS), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·interruptsOn(SB),NOSPLIT,$0
	STI
	NOP
	RET

// func takeNMI()
// The NMI that made the guest exit is the host's; its handler's IRET unmasks.
TEXT ·takeNMI(SB),NOSPLIT,$0
	INT	$2
	RET

// func enter(c *context) bool
// One VMLAUNCH, interrupts off. Under the return address lie BP and R14; the
// exit finds the stack as it is at VMLAUNCH.
TEXT ·enter(SB),NOSPLIT|NOFRAME,$0-9
	BYTE	$0x55			// push rbp
	BYTE	$0x41; BYTE $0x56	// push r14
	BYTE $0x48; BYTE $0x8b; BYTE $0x7c; BYTE $0x24; BYTE $24	// mov rdi, [rsp+24]: c
	MOVQ	$0x6c14, CX		// HOST_RSP
	BYTE $0x0f; BYTE $0x79; BYTE $0xcc	// vmwrite rcx, rsp
	MOVQ	context_cr2(DI), AX
	MOVQ	AX, CR2
	MOVQ	context_xsave(DI), AX
	TESTQ	AX, AX
	JEQ	fxin
	MOVQ	AX, DX
	SHRQ	$32, DX
	BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xaf; LONG $FPU	// xrstor64 FPU(DI)
	MOVQ	context_guestXCR0(DI), AX
	CMPQ	AX, context_xsave(DI)
	JEQ	regs
	MOVQ	AX, DX
	SHRQ	$32, DX
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd1	// xsetbv
	JMP	regs
fxin:
	FXRSTOR64	FPU(DI)
regs:
	MOVQ	0(DI), AX
	MOVQ	8(DI), CX
	MOVQ	16(DI), DX
	MOVQ	24(DI), BX
	MOVQ	40(DI), BP
	MOVQ	48(DI), SI
	MOVQ	64(DI), R8
	MOVQ	72(DI), R9
	MOVQ	80(DI), R10
	MOVQ	88(DI), R11
	MOVQ	96(DI), R12
	MOVQ	104(DI), R13
	MOVQ	112(DI), R14
	MOVQ	120(DI), R15
	MOVQ	56(DI), DI
	BYTE $0x0f; BYTE $0x01; BYTE $0xc2	// vmlaunch
	// not entered: no register of the guest's changed
	BYTE $0x48; BYTE $0x8b; BYTE $0x7c; BYTE $0x24; BYTE $24	// mov rdi, [rsp+24]
	BYTE $0xc6; BYTE $0x44; BYTE $0x24; BYTE $32; BYTE $0	// mov byte [rsp+32], 0: the result
	MOVQ	$out<>(SB), AX
	JMP	AX

// Where the processor goes on after an exit.
TEXT vmexit<>(SB),NOSPLIT|NOFRAME,$0
	BYTE	$0x57			// push rdi
	BYTE $0x48; BYTE $0x8b; BYTE $0x7c; BYTE $0x24; BYTE $32	// mov rdi, [rsp+32]: c
	MOVQ	AX, 0(DI)
	BYTE	$0x58			// pop rax: the guest's RDI
	MOVQ	AX, 56(DI)
	MOVQ	CX, 8(DI)
	MOVQ	DX, 16(DI)
	MOVQ	BX, 24(DI)
	MOVQ	BP, 40(DI)
	MOVQ	SI, 48(DI)
	MOVQ	R8, 64(DI)
	MOVQ	R9, 72(DI)
	MOVQ	R10, 80(DI)
	MOVQ	R11, 88(DI)
	MOVQ	R12, 96(DI)
	MOVQ	R13, 104(DI)
	MOVQ	R14, 112(DI)
	MOVQ	R15, 120(DI)
	MOVQ	CR2, AX
	MOVQ	AX, context_cr2(DI)
	BYTE $0xc6; BYTE $0x44; BYTE $0x24; BYTE $32; BYTE $1	// mov byte [rsp+32], 1: the result
	MOVQ	$out<>(SB), AX
	JMP	AX

// DI: the context.
TEXT out<>(SB),NOSPLIT|NOFRAME,$0
	XORL	BX, BX	// nothing of the guest's stays, for speculation
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
	MOVQ	AX, DX
	SHRQ	$32, DX
	CMPQ	AX, context_guestXCR0(DI)
	JEQ	xsave
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd1	// xsetbv
xsave:
	BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xa7; LONG $FPU	// xsave64 FPU(DI)
	JMP	done
fxout:
	FXSAVE64	FPU(DI)
done:
	MOVQ	$mxcsr<>(SB), AX
	LDMXCSR	(AX)
	XORPS	X15, X15
	CLD
	BYTE	$0x41; BYTE $0x5e	// pop r14
	BYTE	$0x5d			// pop rbp
	BYTE	$0xc3			// ret

DATA mxcsr<>+0(SB)/4, $0x1f80
GLOBL mxcsr<>(SB), RODATA, $4

TEXT ·exitPC(SB),NOSPLIT,$0-8
	MOVQ	$vmexit<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func vmxon(pa, cr0 uint64) bool
// CR0 gets the bits of cr0, CR4 VMXE.
TEXT ·vmxon(SB),NOSPLIT,$0-17
	MOVQ	CR0, AX
	ORQ	cr0+8(FP), AX
	MOVQ	AX, CR0
	MOVQ	CR4, AX
	BTSQ	$13, AX
	MOVQ	AX, CR4
	LEAQ	pa+0(FP), AX
	BYTE $0xf3; BYTE $0x0f; BYTE $0xc7; BYTE $0x30
	SETHI	ret+16(FP)	// neither CF nor ZF: done
	RET

TEXT ·vmxoff(SB),NOSPLIT,$0
	BYTE $0x0f; BYTE $0x01; BYTE $0xc4
	MOVQ	CR4, AX
	BTRQ	$13, AX
	MOVQ	AX, CR4
	RET

TEXT ·vmclear(SB),NOSPLIT,$0-9
	LEAQ	pa+0(FP), AX
	BYTE $0x66; BYTE $0x0f; BYTE $0xc7; BYTE $0x30
	SETHI	ret+8(FP)	// neither CF nor ZF: done
	RET

TEXT ·vmptrld(SB),NOSPLIT,$0-9
	LEAQ	pa+0(FP), AX
	BYTE $0x0f; BYTE $0xc7; BYTE $0x30
	SETHI	ret+8(FP)	// neither CF nor ZF: done
	RET

TEXT ·vmwrite(SB),NOSPLIT,$0-16
	MOVL	field+0(FP), CX
	MOVQ	v+8(FP), AX
	BYTE $0x0f; BYTE $0x79; BYTE $0xc8
	RET

TEXT ·vmread(SB),NOSPLIT,$0-16
	MOVL	field+0(FP), CX
	XORL	AX, AX
	BYTE $0x0f; BYTE $0x78; BYTE $0xc8
	MOVQ	AX, ret+8(FP)
	RET

// func invept()
// All contexts (SDM vol. 3, INVEPT type 2).
TEXT ·invept(SB),NOSPLIT,$16-0
	MOVQ	$0, 0(SP)
	MOVQ	$0, 8(SP)
	MOVQ	$2, AX
	BYTE $0x66; BYTE $0x0f; BYTE $0x38; BYTE $0x80; BYTE $0x04; BYTE $0x24	// invept rax, [rsp]
	RET

// func hostTables() (gdt, idt, trBase, cs, tr uint64)
// The TSS's base comes from its descriptor (SDM vol. 3, 8.2.3).
TEXT ·hostTables(SB),NOSPLIT,$16-40
	BYTE $0x0f; BYTE $0x01; BYTE $0x04; BYTE $0x24	// sgdt [rsp]
	MOVQ	2(SP), BX
	MOVQ	BX, gdt+0(FP)
	BYTE $0x0f; BYTE $0x01; BYTE $0x0c; BYTE $0x24	// sidt [rsp]
	MOVQ	2(SP), AX
	MOVQ	AX, idt+8(FP)
	XORL	AX, AX
	BYTE $0x66; BYTE $0x8c; BYTE $0xc8	// mov ax, cs
	MOVQ	AX, cs+24(FP)
	XORL	CX, CX
	BYTE $0x66; BYTE $0x0f; BYTE $0x00; BYTE $0xc9	// str cx
	ANDQ	$0xfff8, CX
	MOVQ	CX, tr+32(FP)
	ADDQ	CX, BX
	MOVQ	0(BX), AX
	MOVQ	AX, DX
	SHRQ	$16, AX
	ANDQ	$0xffffff, AX
	SHRQ	$56, DX
	SHLQ	$24, DX
	ORQ	DX, AX
	MOVL	8(BX), DX
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, trBase+16(FP)
	RET
