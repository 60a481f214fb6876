# Segments that reach the hypervisor's part, gates, ring 0's selectors, and iret. Page 3 is
# the GDT.
	.set	SEL_CODE, 0x08|1		# entry 1
	.set	SEL_DATA, 0x10|1		# entry 2

# describe makes EDX:EAX the GDT's entry ECX.
describe:
	mov	%eax, %ebp
	mov	%edx, %esi
	FRAME	3
	shl	$12, %eax
	lea	(%eax,%ecx,8), %ebx
	HC	HC_UPDATE_DESCRIPTOR, , $0, %ebp
	ret
	.macro	DESCRIBE i, low, high
	mov	$\low, %eax
	mov	$\high, %edx
	mov	$\i, %ecx
	call	describe
	.endm

ATTACK	HELD, "a GDT"
	TABLE	3
	FRAME	3
	mov	%eax, request
	HC	HC_SET_GDT, $request, $512
	ret
ATTACK	ERROR, "map it writable, as a GDT"
	REMAP	3, RW
	ret
ATTACK	ERROR, "set_gdt with the L3"
	mov	root, %eax
	shr	$12, %eax
	mov	%eax, request
	HC	HC_SET_GDT, $request, $512
	ret
ATTACK	ERROR, "set_gdt with the machine-to-physical table"
	mov	extent, %eax
	mov	%eax, request
	HC	HC_SET_GDT, $request, $512
	ret
	.macro	REFUSED name, low, high
ATTACK	ERROR, "\name"
	DESCRIBE 1, \low, \high
	ret
	.endm
	REFUSED	"a call gate to the hypervisor", 0xe0080000, 0x0000ec00
	REFUSED	"a call gate of 16 bits", 0xe0080000, 0x0000e400
	REFUSED	"a call gate to oneself", 0xe0190000, 0xc010ec00
	REFUSED	"a task gate", 0xe0400000, 0x0000e500
	REFUSED	"an interrupt gate", 0xe0080000, 0x0000ee00
	REFUSED	"a trap gate", 0xe0080000, 0x0000ef00
	REFUSED	"a TSS", 0x00000067, 0x00008900
	REFUSED	"an LDT", 0x00000fff, 0x00008200
	REFUSED	"64-bit code", 0x0000ffff, 0x00affb00
	REFUSED	"64-bit code of ring 0", 0x0000ffff, 0x00af9b00

# ring is 0 if the GDT's entry 1 leads to code that runs in ring 1.
ring:	test	%eax, %eax
	jnz	2f
	ljmp	$SEL_CODE, $1f
1:	mov	%cs, %eax
	ljmp	$KERNEL_CS, $2f
2:	and	$3, %eax
	dec	%eax
	ret
ATTACK	HELD, "code of ring 0 is ring 1's"
	DESCRIBE 1, 0x0000ffff, 0x00cf9a00
	jmp	ring
ATTACK	HELD, "conforming code of ring 0"
	DESCRIBE 1, 0x0000ffff, 0x00cf9e00
	jmp	ring
ATTACK	FAULT, "code of ring 3, without a way there"
	DESCRIBE 1, 0x0000ffff, 0x00cffb00
	jmp	ring
ATTACK	HELD, "data whose base is the machine-to-physical table"
	DESCRIBE 2, 0x0000ffff, 0xf5cf9280
	ret
ATTACK	FAULT, "write by it, as a segment"
	mov	$SEL_DATA, %eax
	mov	%eax, %fs
	movl	$0, %fs:0
	ret
ATTACK	FAULT, "read by it, behind the table"
	mov	$SEL_DATA, %eax
	mov	%eax, %fs
	mov	%fs:(HOLE-M2P), %eax
	ret
ATTACK	FAULT, "read by it, across 4 GiB"
	mov	$SEL_DATA, %eax
	mov	%eax, %fs
	mov	%fs:(0x100000000-M2P-2), %eax
	ret
ATTACK	HELD, "data that expands down, from the hypervisor's part"
	DESCRIBE 2, 0x00000000, 0xf6c09680
	ret
ATTACK	FAULT, "read by it at its end"
	mov	$SEL_DATA, %eax
	mov	%eax, %fs
	mov	%fs:0x097ffffc, %eax
	ret
ATTACK	HELD, "code whose base is the hypervisor's part"
	DESCRIBE 1, 0x0000ffff, 0xf6cf9a80
	ret
ATTACK	FAULT, "jump there"
	ljmp	$SEL_CODE, $0
ATTACK	HELD, "a hypercall with DS in the hypervisor's part"
	DESCRIBE 2, 0x0000ffff, 0xf6cf9280
	mov	$SEL_DATA, %eax
	mov	$(hypercall_page+HC_XEN_VERSION*32), %ebp
	mov	%eax, %ds		# arguments are linear addresses all the same
	mov	$1, %ebx
	mov	$pages+4096*7, %ecx
	call	*%ebp
	mov	$KERNEL_DS, %edx
	mov	%edx, %ds
	ret
ATTACK	HELD, "no GDT"
	xor	%eax, %eax
	mov	%eax, %fs
	HC	HC_SET_GDT, $request, $0
	ret
ATTACK	HELD, "the page of the GDT is a page again"
	FREE	3
	ret
ATTACK	ERROR, "SET_LDT in the hypervisor's part"
	mov	$HOLE, %esi
	mov	$16, %edx
	mov	$MMUEXT_SET_LDT, %edi
	jmp	ext
ATTACK	ERROR, "SET_LDT across 4 GiB"
	mov	$0xfffff000, %esi
	mov	$8192, %edx
	mov	$MMUEXT_SET_LDT, %edi
	jmp	ext

ATTACK	HELD, "selectors of the hypervisor that load"
	mov	$0xe000, %ebp
	xor	%edi, %edi
1:	TRY	mov %ebp, %fs
	cmpl	$-1, fault_vector
	jne	2f
	inc	%edi
2:	inc	%ebp
	cmp	$0xe018, %ebp
	jne	3f
	mov	$0xe038, %ebp		# between them they are the guests'
3:	cmp	$0xe078, %ebp
	jb	1b
	mov	%edi, %eax
	ret
ATTACK	HELD, "far calls to the hypervisor's selectors"
	movl	$back, farptr
	mov	$0xe000, %ebp
	xor	%edi, %edi
1:	mov	%bp, farptr+4
	TRY	lcall *farptr
	cmpl	$-1, fault_vector
	jne	2f
	inc	%edi
2:	add	$8, %ebp
	cmp	$0xe018, %ebp
	jne	3f
	mov	$0xe038, %ebp
3:	cmp	$0xe078, %ebp
	jb	1b
	mov	%edi, %eax
	ret
back:	lret
ATTACK	FAULT, "a far return to ring 0"
	push	$0xe008
	push	$back
	lret
ATTACK	FAULT, "IRET to ring 0"
	push	$0x202
	push	$0xe008
	push	$back
	iret
ATTACK	FAULT, "IRET to 64-bit code of ring 3"
	push	$0xe033
	push	$stack_end
	push	$0x202
	push	$0xe033			# a 64-bit guest's code; here data
	push	$back
	iret
ATTACK	FAULT, "SS of ring 0"
	mov	$0xe010, %eax
	mov	%eax, %ss
	ret
ATTACK	FAULT, "SS with RPL 0"
	mov	$0xe020, %eax
	mov	%eax, %ss
	ret
ATTACK	HELD, "INT with every vector but the hypercalls'"
	mov	$0, %ebp
	xor	%edi, %edi
1:	cmp	$0x82, %ebp
	je	2f
	mov	%ebp, %eax
	mov	%al, interrupt+1
	push	%edi
	push	%ebp
	TRY	call interrupt
	pop	%ebp
	pop	%edi
	cmpl	$13, fault_vector
	je	2f
	cmp	$3, %ebp		# these may be raised
	je	2f
	cmp	$4, %ebp
	je	2f
	inc	%edi
2:	inc	%ebp
	cmp	$256, %ebp
	jb	1b
	mov	%edi, %eax
	ret
	PRIVILEGED "LGDT", lgdt pages
	PRIVILEGED "LIDT", lidt pages
	PRIVILEGED "LLDT", lldt %ax
	PRIVILEGED "LTR", ltr %ax
	PRIVILEGED "HLT", hlt
	PRIVILEGED "INVD", invd
	PRIVILEGED "INVLPG", invlpg pages
	PRIVILEGED "SYSEXIT", sysexit
	PRIVILEGED "SYSENTER", sysenter
	PRIVILEGED "STAC", stac
	PRIVILEGED "VMRUN", vmrun
	PRIVILEGED "MOV to CR0, without paging", mov %eax, %cr0
	PRIVILEGED "MOV to CR3, frame 0", mov %eax, %cr3
	PRIVILEGED "IN from the PIT", in $0x40, %al
	PRIVILEGED "RDPMC", rdpmc
ATTACK	FAULT, "WRMSR of EFER"
	mov	$0xc0000080, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	ret
ATTACK	FAULT, "WRMSR of FS's base"
	mov	$0xc0000100, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	ret
ATTACK	HELD, "MOV to CR4 of PAE, SMEP and SMAP"
	mov	$0x00300000, %eax
	mov	%eax, %cr4		# the bits stay what they are
	mov	%cr4, %eax
	and	$0x00300020, %eax
	xor	$0x20, %eax
	ret
ATTACK	HELD, "POPF with IF off, IOPL 3"
	push	$0x3002
	popf
	pushf
	pop	%eax
	push	$0x202
	popf
	and	$0x3200, %eax
	xor	$0x200, %eax
	ret
ATTACK	ERROR, "set_segment_base"
	HC	HC_SET_SEGMENT_BASE, $0, $0
	ret
ATTACK	ERROR, "a vcpu with an L2 as its CR3"
	TABLE	2
	PIN	2, 2
	FRAME	2
	rol	$12, %eax
	mov	%eax, context+CTX_CR3
	movl	$4, context+CTX_FLAGS
	HC	HC_VCPU_OP, $0, $1, $context
	push	%eax
	UNPIN	2
	FREE	2
	pop	%eax
	ret
ATTACK	ERROR, "a vcpu without a CR3"
	movl	$0, context+CTX_CR3
	HC	HC_VCPU_OP, $0, $1, $context
	ret
ATTACK	HELD, "hypercalls work after that"
	HC	HC_XEN_VERSION, $0, $0
	shr	$20, %eax
	ret

# The hypercall iret to a CS or flags that no guest has.
iret0:	mov	$0xe008, %eax
	mov	$0x202, %ecx
	jmp	1f
iret2:	mov	$0xe01a, %eax
	mov	$0x202, %ecx
	jmp	1f
vm86:	mov	$KERNEL_CS, %eax
	mov	$0x20202, %ecx
1:	push	$0xe010
	push	$stack_end
	push	%ecx
	push	%eax
	push	$2f
	push	$0			# EAX
	mov	$HC_IRET, %eax
	int	$0x82
2:	mov	$escaped, %eax
	call	puts
	jmp	exit

# virtual is the instruction IRET to virtual-8086 mode. In ring 1 the flag stays clear (AMD APM
# vol. 3), but QEMU 7.2 goes there, and the guest faults with nonsense in its segments.
virtual: push	$0x20202
	push	$KERNEL_CS
	push	$1f
	iret
1:	jmp	exit

	.data
escaped: .asciz	"PV-HOSTILE iret went on\r\n"
interrupt: int	$0
	ret
	.balign	4
farptr:	.long	0, 0
	.bss
	.balign	4
	.set	CTX_FLAGS, 512			# struct vcpu_guest_context
	.set	CTX_CR3, 2716+12
context: .skip	2800
	.text
