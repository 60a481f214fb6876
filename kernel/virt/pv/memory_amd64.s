//go:build tamago

// Page tables of a guest, as a CPU has them, and memory by the guest's own addresses.

#include "go_asm.h"
#include "gs_amd64.h"
#include "textflag.h"

// func newRoot(c *context)
// It loads the vcpu's page tables if its old ones are loaded: those may be gone soon. A
// guest's tables that a CPU has are those of the context that was entered last.
TEXT ·newRoot(SB),NOSPLIT,$0-8
	MOVQ	c+0(FP), DI
	PUSHFQ
	CLI
	MOVQ	CR3, CX
	CMPQ	CX, GS_CR3(GS)
	JEQ	done
	CMPQ	DI, GS_CTX(GS)
	JNE	done
	MOVQ	context_cr3(DI), AX
	MOVQ	AX, CR3	// the TLB is empty, of their PCID
	MOVQ	$0, context_reload(DI)
	MOVQ	$0, GS_KEPT(GS)
done:
	POPFQ
	RET

// func loadRoot(cr3 uint64)
TEXT ·loadRoot(SB),NOSPLIT,$0-8
	MOVQ	cr3+0(FP), AX
	MOVQ	AX, CR3
	RET

// func invalidate(va uint64)
TEXT ·invalidate(SB),NOSPLIT,$0-8
	MOVQ	va+0(FP), AX
	INVLPG	(AX)
	RET

// func store(to uint64, from *frame, first, words uint64) bool
TEXT ·store(SB),NOSPLIT,$0-33
	MOVQ	to+0(FP), DI
	MOVQ	from+8(FP), SI
	MOVQ	first+16(FP), AX
	LEAQ	(SI)(AX*8), SI
	MOVQ	words+24(FP), CX
	SHLQ	$3, CX
	CALL	copy<>(SB)
	MOVB	AX, ret+32(FP)
	RET

// func load(to *frame, from, words uint64) bool
TEXT ·load(SB),NOSPLIT,$0-25
	MOVQ	to+0(FP), DI
	MOVQ	from+8(FP), SI
	MOVQ	words+16(FP), CX
	SHLQ	$3, CX
	CALL	copy<>(SB)
	MOVB	AX, ret+24(FP)
	RET

// func copyIn(to []byte, from uint64) bool
TEXT ·copyIn(SB),NOSPLIT,$0-33
	MOVQ	to_base+0(FP), DI
	MOVQ	to_len+8(FP), CX
	MOVQ	from+24(FP), SI
	CALL	copy<>(SB)
	MOVB	AX, ret+32(FP)
	RET

// func copyOut(to uint64, from []byte) bool
TEXT ·copyOut(SB),NOSPLIT,$0-33
	MOVQ	to+0(FP), DI
	MOVQ	from_base+8(FP), SI
	MOVQ	from_len+16(FP), CX
	CALL	copy<>(SB)
	MOVB	AX, ret+32(FP)
	RET

// func rootLoaded() uint64
TEXT ·rootLoaded(SB),NOSPLIT,$0-8
	MOVQ	CR3, AX
	MOVQ	AX, ret+0(FP)
	RET

// RISK begins an access to guest memory, and OVER ends it: after a fault faulted returns for the function, with
// AX 0. DX is CR4.SMAP. Interrupts are off, and the stack is as when the function was called.
#define RISK \
	MOVQ	GS_CTX(GS), BX; \
	MOVQ	SP, context_hostSP(BX); \
	MOVQ	GS_CR4(GS), DX; \
	ANDQ	$(1<<21), DX; \
	JEQ	begin; \
	STAC; \
begin: \
	MOVQ	$2, GS_RISKY(GS)
#define OVER \
	MOVQ	$0, GS_RISKY(GS); \
	TESTQ	DX, DX; \
	JEQ	done; \
	CLAC; \
done:

// func loadWord(from uint64) (word uint64, ok bool)
TEXT ·loadWord(SB),NOSPLIT,$0-17
	MOVQ	from+0(FP), SI
	MOVB	$0, ok+16(FP)	// for faulted
	RISK
	MOVQ	(SI), AX
	MOVQ	AX, word+8(FP)
	MOVB	$1, ok+16(FP)
	OVER
	RET

// copy moves CX bytes from SI to DI; AX is 1, or 0 after a fault.
TEXT copy<>(SB),NOSPLIT|NOFRAME,$0
	RISK
	SUBQ	$32, CX
	JB	words
four:	// a round of a loop is a block of an emulator's
	MOVQ	(SI), AX
	MOVQ	8(SI), R8
	MOVQ	16(SI), R9
	MOVQ	24(SI), R10
	MOVQ	AX, (DI)
	MOVQ	R8, 8(DI)
	MOVQ	R9, 16(DI)
	MOVQ	R10, 24(DI)
	ADDQ	$32, SI
	ADDQ	$32, DI
	SUBQ	$32, CX
	JAE	four
words:
	ADDQ	$24, CX
	JLT	tail
word:
	MOVQ	(SI), AX
	MOVQ	AX, (DI)
	ADDQ	$8, SI
	ADDQ	$8, DI
	SUBQ	$8, CX
	JAE	word
tail:
	ADDQ	$8, CX
	JEQ	copied
byte:
	MOVB	(SI), AX
	MOVB	AX, (DI)
	ADDQ	$1, SI
	ADDQ	$1, DI
	SUBQ	$1, CX
	JNE	byte
copied:
	OVER
	MOVQ	$1, AX
	RET

// func leaveRoot()
TEXT ·leaveRoot(SB),NOSPLIT,$0
	PUSHFQ
	CLI
	MOVQ	GS_CR3(GS), AX
	MOVQ	AX, CR3
	MOVQ	$0, GS_KEPT(GS)
	POPFQ
	RET
