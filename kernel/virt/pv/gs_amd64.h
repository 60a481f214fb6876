// The CPU's block under GS (kernel/baremetal, type pcpu). What is at 128 and beyond is
// package virt's; 128 itself is svm's.
#define GS_SELF		0
#define GS_SCRATCH	16
#define GS_CPU		40
#define GS_CR3		72
#define GS_RISKY	120
#define GS_CTX		136	/* the context of the guest that runs */
#define GS_GDTR		144	/* address of the host's pseudo-descriptor */
#define GS_LDT		152	/* the selector in LDTR */
#define GS_CR4		160	/* cr4Guest's bits as they are now */
#define GS_FPU		168	/* the FPU image of the guest whose x87 and AVX state is in the CPU; 0: none */
#define GS_ENTRY	184	/* the stack that IRETQ leaves */
#define GS_OPEN		200	/* the page tables after an isolated guest's exit */
#define GS_KEPT		208	/* the context whose page tables are loaded, if its thread may run elsewhere: baremetal.guestKept */
