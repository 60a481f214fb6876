//go:build tamago

#include "go_asm.h"
#include "textflag.h"

TEXT ·cpuself(SB),NOSPLIT,$0-8
	MOVQ	0(GS), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·rdtsc(SB),NOSPLIT,$0-8
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·rdcr2(SB),NOSPLIT,$0-8
	MOVQ	CR2, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·rdcr3(SB),NOSPLIT,$0-8
	MOVQ	CR3, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·wrcr3(SB),NOSPLIT,$0-8
	MOVQ	v+0(FP), AX
	MOVQ	AX, CR3
	RET

TEXT ·wrcr4(SB),NOSPLIT,$0-8
	MOVQ	v+0(FP), AX
	MOVQ	AX, CR4
	RET

TEXT ·out8(SB),NOSPLIT,$0-3
	MOVW	port+0(FP), DX
	MOVB	v+2(FP), AX
	OUTB
	RET

TEXT ·in8(SB),NOSPLIT,$0-9
	MOVW	port+0(FP), DX
	INB
	MOVB	AX, ret+8(FP)
	RET

TEXT ·out16(SB),NOSPLIT,$0-4
	MOVW	port+0(FP), DX
	MOVW	v+2(FP), AX
	OUTW
	RET

TEXT ·in16(SB),NOSPLIT,$0-10
	MOVW	port+0(FP), DX
	INW
	MOVW	AX, ret+8(FP)
	RET

TEXT ·out32(SB),NOSPLIT,$0-8
	MOVW	port+0(FP), DX
	MOVL	v+4(FP), AX
	OUTL
	RET

TEXT ·in32(SB),NOSPLIT,$0-12
	MOVW	port+0(FP), DX
	INL
	MOVL	AX, ret+8(FP)
	RET

TEXT ·pause(SB),NOSPLIT,$0
	PAUSE
	RET

TEXT ·guestSwitched(SB),NOSPLIT,$0
	MOVQ	(pcpu_virt+8*const_guestFPU)(GS), DI
	MOVQ	$0, (pcpu_virt+8*const_guestFPU)(GS)
	MOVL	24(DI), R8	// MXCSR, which XSAVE overwrites with AVX's state
	XORL	CX, CX
	BYTE	$0x0f; BYTE $0x01; BYTE $0xd0	// xgetbv
	ANDL	$~2, AX
	BYTE	$0x48; BYTE $0x0f; BYTE $0xae; BYTE $0x27	// xsave64 (rdi)
	MOVL	R8, 24(DI)
	RET

TEXT ·halt(SB),NOSPLIT,$0
	HLT
	RET

TEXT ·clear64(SB),NOSPLIT,$0-16
	MOVQ	va+0(FP), DI
	MOVQ	n+8(FP), CX
	SHRQ	$3, CX
	XORL	AX, AX
	CLD
	REP; STOSQ
	RET

TEXT ·loadTables(SB),NOSPLIT,$0-16
	MOVQ	gdtr+0(FP), AX
	LGDT	(AX)
	MOVQ	idtr+8(FP), AX
	LIDT	(AX)
	MOVL	$const_selTSS, AX
	BYTE	$0x0f; BYTE $0x00; BYTE $0xd8	// ltr ax
	MOVL	$const_selData, AX
	MOVW	AX, SS
	XORL	AX, AX
	MOVW	AX, DS
	MOVW	AX, ES
	MOVQ	(SP), CX	// to where this was called from, with the new CS
	MOVL	$const_selCode, AX
	MOVQ	AX, (SP)
	PUSHQ	CX
	BYTE	$0x48; BYTE $0xcb	// retfq

TEXT ·loadIDT(SB),NOSPLIT,$0-8
	MOVQ	idtr+0(FP), AX
	LIDT	(AX)
	RET

// The holder may wait for this CPU's TLB (flushAll): a request is looked for while
// spinning.
TEXT ·lock(SB),NOSPLIT,$0-8
	MOVQ	p+0(FP), DI
again:
	MOVL	$1, AX
	XCHGL	AX, (DI)
	TESTL	AX, AX
	JEQ	got
spin:
	PAUSE
	MOVQ	pcpu_flushWant(GS), BX
	CMPQ	BX, pcpu_flushDone(GS)
	JEQ	nothing
	MOVQ	CR4, AX
	MOVQ	AX, CX
	XORQ	$0x80, CX	// it may be off: see Isolate
	MOVQ	CX, CR4
	MOVQ	AX, CR4
	MOVQ	BX, pcpu_flushDone(GS)
nothing:
	CMPL	(DI), $0
	JNE	spin
	JMP	again
got:
	RET

// flushTLB drops all translations of this CPU, global ones too (APM vol. 2, 5.5.3:
// a change of CR4.PGE).
TEXT ·flushTLB(SB),NOSPLIT,$0
	MOVQ	CR4, AX
	MOVQ	AX, CX
	XORQ	$0x80, CX
	MOVQ	CX, CR4
	MOVQ	AX, CR4
	RET

TEXT ·unlock(SB),NOSPLIT,$0-8
	MOVQ	p+0(FP), DI
	MOVL	$0, (DI)
	RET

TEXT ·cli(SB),NOSPLIT,$0-8
	PUSHFQ
	POPQ	AX
	CLI
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·restore(SB),NOSPLIT,$0-8
	MOVQ	flags+0(FP), AX
	PUSHQ	AX
	POPFQ
	RET

TEXT ·rdrand(SB),NOSPLIT,$0-9
	RDRANDQ	AX
	SETCS	ok+8(FP)
	MOVQ	AX, v+0(FP)
	RET

// See retpoline.go. SP is no register for a target.
DATA ·retpolines+0(SB)/8, $runtime·retpolineAX(SB)
DATA ·retpolines+8(SB)/8, $runtime·retpolineCX(SB)
DATA ·retpolines+16(SB)/8, $runtime·retpolineDX(SB)
DATA ·retpolines+24(SB)/8, $runtime·retpolineBX(SB)
DATA ·retpolines+32(SB)/8, $0
DATA ·retpolines+40(SB)/8, $runtime·retpolineBP(SB)
DATA ·retpolines+48(SB)/8, $runtime·retpolineSI(SB)
DATA ·retpolines+56(SB)/8, $runtime·retpolineDI(SB)
DATA ·retpolines+64(SB)/8, $runtime·retpolineR8(SB)
DATA ·retpolines+72(SB)/8, $runtime·retpolineR9(SB)
DATA ·retpolines+80(SB)/8, $runtime·retpolineR10(SB)
DATA ·retpolines+88(SB)/8, $runtime·retpolineR11(SB)
DATA ·retpolines+96(SB)/8, $runtime·retpolineR12(SB)
DATA ·retpolines+104(SB)/8, $runtime·retpolineR13(SB)
DATA ·retpolines+112(SB)/8, $runtime·retpolineR14(SB)
DATA ·retpolines+120(SB)/8, $runtime·retpolineR15(SB)
GLOBL ·retpolines(SB), NOPTR, $128
