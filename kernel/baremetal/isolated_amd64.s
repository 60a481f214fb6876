//go:build tamago

// How exceptions and interrupts come in where PV guests are isolated (isolate.go): CR3 may be
// a root that shows nothing of the kernel but this file's code, the IDT and the CPU's block,
// in which the stack is. So what the processor pushed is brought to the stack that it would
// have used otherwise, with page tables that have the kernel, and the ordinary entry goes on.

#include "go_asm.h"
#include "textflag.h"

// BLOCK pushes AX and DI, makes DI the CPU's block, and tells whether CR3 is the isolated root;
// OPEN loads the one that belongs to it and has the kernel.
#define BLOCK \
	PUSHQ	AX; \
	PUSHQ	DI; \
	MOVQ	SP, DI; \
	ANDQ	$~(const_page4K-1), DI; \
	MOVQ	CR3, AX; \
	ANDQ	$~(const_page4K-1), AX; \
	CMPQ	AX, (pcpu_virt+8*const_isolatedRoot)(DI)

#define OPEN \
	MOVQ	(pcpu_virt+8*const_openRoot)(DI), AX; \
	MOVQ	AX, CR3

// COPY brings word i of what is above AX and DI below the n words' end at DI.
#define COPY(i, n) \
	MOVQ	(16+8*i)(SP), AX; \
	MOVQ	AX, (8*i-8*n)(DI)

// MOVE does so with the vector, the error code and the frame, and goes to the new stack with
// the registers as they were.
#define MOVE \
	COPY(0, 7); COPY(1, 7); COPY(2, 7); COPY(3, 7); COPY(4, 7); COPY(5, 7); COPY(6, 7); \
	MOVQ	0(SP), AX; \
	MOVQ	AX, -64(DI); \
	MOVQ	8(SP), AX; \
	LEAQ	-64(DI), SP; \
	POPQ	DI

#define NOERR(v)	PCALIGN $16; PUSH0; PUSHV(v); JMP trap
#define ERR(v)	PCALIGN $16; PUSHV(v); JMP trap
#define DEBUG(v)	PCALIGN $16; JMP debug
#define NMI(v)	PCALIGN $16; JMP nmi
#define DOUBLE(v)	PCALIGN $16; PUSHV(v); JMP double
#define MACHINE(v)	PCALIGN $16; PUSH0; PUSHV(v); JMP machine

TEXT ·isolatedStubs(SB),NOSPLIT|NOFRAME,$0
#include "stubs_amd64.h"

	// From a guest, from its IRETQ, or from the kernel, whose page tables stay.
trap:
	BLOCK
	JNE	trapped
	OPEN
trapped:
	MOVQ	pcpu_kstack(DI), DI
	MOVE
	JMP	·trap(SB)

	// One in ring 0 under the isolated root is a guest's, whose MOV SS delayed it to the first
	// instruction here, or at SYSCALL's: it is dropped, as there.
debug:
	BLOCK
	JNE	debugged
	TESTB	$3, 24(SP)
	JEQ	drop
	OPEN
debugged:
	MOVQ	(pcpu_ist+8*(const_istDebug-1))(DI), DI
	COPY(0, 5); COPY(1, 5); COPY(2, 5); COPY(3, 5); COPY(4, 5)
	MOVQ	0(SP), AX
	MOVQ	AX, -48(DI)
	MOVQ	8(SP), AX
	LEAQ	-48(DI), SP
	POPQ	DI
	JMP	·debug(SB)
drop:
	POPQ	DI
	POPQ	AX
	IRETQ

double:
	BLOCK
	MOVQ	pcpu_cr3(DI), AX
	MOVQ	AX, CR3
	MOVQ	(pcpu_ist+8*(const_istDouble-1))(DI), DI
	MOVE
	JMP	·fatalTrap(SB)

machine:
	BLOCK
	MOVQ	pcpu_cr3(DI), AX
	MOVQ	AX, CR3
	MOVQ	(pcpu_ist+8*(const_istMachine-1))(DI), DI
	MOVE
	JMP	·fatalTrap(SB)

	// NMI may come at any instruction, with any root: it goes back to what it found, by fromNMI,
	// for which it leaves CR3 and AX here, and their address above the other stack's end.
nmi:
	PUSHQ	AX
	MOVQ	CR3, AX
	PUSHQ	AX
	PUSHQ	DI
	MOVQ	SP, DI
	ANDQ	$~(const_page4K-1), DI
	MOVQ	pcpu_cr3(DI), AX
	MOVQ	AX, CR3
	MOVQ	(pcpu_ist+8*(const_istNMI-1))(DI), DI
	LEAQ	8(SP), AX
	MOVQ	AX, 8(DI)
	COPY(1, 6); COPY(2, 6); COPY(3, 6); COPY(4, 6); COPY(5, 6)
	MOVQ	0(SP), AX
	MOVQ	AX, -48(DI)
	MOVQ	16(SP), AX
	LEAQ	-48(DI), SP
	POPQ	DI
	JMP	·nmi(SB)

// fromNMI is the end of an NMI; SP is where nmi left CR3.
TEXT ·fromNMI(SB),NOSPLIT|NOFRAME,$0
	POPQ	AX
	MOVQ	AX, CR3
	POPQ	AX
	IRETQ

// func isolatedPCs() (stubs, fromNMI uint64)
TEXT ·isolatedPCs(SB),NOSPLIT,$0-16
	MOVQ	$·isolatedStubs(SB), AX
	MOVQ	AX, stubs+0(FP)
	MOVQ	$·fromNMI(SB), AX
	MOVQ	AX, fromNMI+8(FP)
	RET
