//go:build tamago

#include "go_asm.h"
#include "textflag.h"

TEXT ·WriteMSR(SB),NOSPLIT,$0-16
	MOVL	msr+0(FP), CX
	MOVQ	v+8(FP), AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	WRMSR
	RET

TEXT ·ReadMSR(SB),NOSPLIT,$0-16
	MOVL	msr+0(FP), CX
	RDMSR
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+8(FP)
	RET

TEXT ·CPUID(SB),NOSPLIT,$0-24
	MOVL	leaf+0(FP), AX
	MOVL	sub+4(FP), CX
	CPUID
	MOVL	AX, a+8(FP)
	MOVL	BX, b+12(FP)
	MOVL	CX, c+16(FP)
	MOVL	DX, d+20(FP)
	RET

TEXT ·CR0(SB),NOSPLIT,$0-8
	MOVQ	CR0, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·CR3(SB),NOSPLIT,$0-8
	MOVQ	CR3, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·CR4(SB),NOSPLIT,$0-8
	MOVQ	CR4, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·XCR0(SB),NOSPLIT,$0-8
	XORL	CX, CX
	BYTE	$0x0f; BYTE $0x01; BYTE $0xd0	// xgetbv
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·SetXCR0(SB),NOSPLIT,$0-8
	MOVQ	v+0(FP), AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	XORL	CX, CX
	BYTE	$0x0f; BYTE $0x01; BYTE $0xd1	// xsetbv
	RET

TEXT ·ClearBuffers(SB),NOSPLIT,$8-0
	MOVW	$const_KernelData, 0(SP)
	BYTE	$0x0f; BYTE $0x00; BYTE $0x2c; BYTE $0x24	// verw word [rsp]
	RET

// func fxsave(p *[512 + 16]byte)
// The image goes to the first multiple of 16; its MXCSR_MASK is moved to where it is in p.
TEXT ·fxsave(SB),NOSPLIT,$0-8
	MOVQ	p+0(FP), DI
	LEAQ	15(DI), SI
	ANDQ	$~15, SI
	FXSAVE64	(SI)
	MOVL	28(SI), AX
	MOVL	AX, 28(DI)
	RET
