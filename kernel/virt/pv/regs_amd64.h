// A guest's registers in its context, and instructions on them that the assembler doesn't know.

// Registers in virt.Regs, which is at the start of the context.
#define RAX	0
#define RCX	8
#define RDX	16
#define RBX	24
#define RSP	32
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
#define RIP	128
#define RFLAGS	136

#define FPU	const_fpuOffset

#define MSR_FS	0xc0000100
#define MSR_GS	0xc0000101
#define MSR_KGS	0xc0000102

#define RDFSBASE_AX	BYTE $0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xc0
#define RDGSBASE_AX	BYTE $0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xc8
#define WRFSBASE_AX	BYTE $0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xd0
#define WRGSBASE_AX	BYTE $0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xd8
#define WRGSBASE_BX	BYTE $0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xdb
#define LLDT_AX		BYTE $0x0f; BYTE $0x00; BYTE $0xd0

// RDMSR_AX and WRMSR_AX move a base between AX and an MSR; they clobber CX and DX.
#define RDMSR_AX(msr)	MOVL $msr, CX; RDMSR; SHLQ $32, DX; ORQ DX, AX
#define WRMSR_AX(msr)	MOVL $msr, CX; MOVQ AX, DX; SHRQ $32, DX; WRMSR

// LOADED loads the guest's general registers but for RAX, RCX, RDI, R11 and RSP.
#define LOADED \
	MOVQ	RDX(DI), DX; \
	MOVQ	RBX(DI), BX; \
	MOVQ	RBP(DI), BP; \
	MOVQ	RSI(DI), SI; \
	MOVQ	R_8(DI), R8; \
	MOVQ	R_9(DI), R9; \
	MOVQ	R_10(DI), R10; \
	MOVQ	R_12(DI), R12; \
	MOVQ	R_13(DI), R13; \
	MOVQ	R_14(DI), R14; \
	MOVQ	R_15(DI), R15

// BASED notes the guest's segment bases, of which that of GS is in KERNEL_GS_BASE; it clobbers AX.
#define BASED \
	RDFSBASE_AX; \
	MOVQ	AX, context_fsBase(DI); \
	SWAPGS; \
	RDGSBASE_AX; \
	SWAPGS; \
	MOVQ	AX, context_gsBase(DI)

// FRAMED puts what IRETQ takes on the entry stack.
#define FRAMED \
	MOVQ	GS_ENTRY(GS), SP; \
	PUSHQ	context_ss(DI); \
	PUSHQ	RSP(DI); \
	PUSHQ	RFLAGS(DI); \
	PUSHQ	context_cs(DI); \
	PUSHQ	RIP(DI)

// SCRUBBED leaves nothing of the guest's in a general register, for speculation, but for R14, which
// becomes g.
#define SCRUBBED \
	XORL	AX, AX; \
	XORL	BX, BX; \
	XORL	CX, CX; \
	XORL	DX, DX; \
	XORL	SI, SI; \
	XORL	DI, DI; \
	XORL	R8, R8; \
	XORL	R9, R9; \
	XORL	R10, R10; \
	XORL	R11, R11; \
	XORL	R12, R12; \
	XORL	R13, R13; \
	XORL	R15, R15; \
	XORL	BP, BP
