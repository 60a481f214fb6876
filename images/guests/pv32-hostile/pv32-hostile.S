# A 32-bit PV guest that tries known ways to get at what is not its own, as far as they differ
# from those of 64-bit guests (pv-hostile). The command line says which: nothing for all that a
# guest survives, one after another, or a word:
#
#   iret0  iret, the hypercall, to ring 0
#   iret2  and to ring 2
#   vm86   and to virtual-8086 mode
#   virt   IRET, the instruction, to that mode
#   fuzz   calls every number with bad arguments
#   push   faults with its stack in a page table
#
# Each attack is a line
#
#   PV-HOSTILE name: outcome
#
# as pv-hostile's are. The last line is "PV-HOSTILE END n not refused"; the guest crashes, if
# that isn't 0.
#
# References: those of asm/pv32.S; memory.h, vcpu.h; AMD APM vol. 2, chapters 4 and 5.
	.include "images/guests/asm/pv32.S"
	.set	HC_MMU_UPDATE, 1
	.set	HC_SET_GDT, 2
	.set	HC_UPDATE_DESCRIPTOR, 10
	.set	HC_MEMORY_OP, 12
	.set	HC_MULTICALL, 13
	.set	HC_XEN_VERSION, 17
	.set	HC_SET_SEGMENT_BASE, 25
	.set	HC_MMUEXT_OP, 26
	.set	MMUEXT_UNPIN, 4			# from 0 on: pin as L1 and so on
	.set	MMUEXT_NEW_BASEPTR, 5
	.set	MMUEXT_SET_LDT, 13
	.set	MMUEXT_NEW_USER_BASEPTR, 15
	.set	MACHPHYS_MFN_LIST, 5
	.set	UVMF_INVLPG, 6			# on all CPUs
	.set	DOMID_SELF, 0x7ff0
	.set	RO, 0x25			# present, user, accessed
	.set	HOLE, 0xf6800000		# of the hypervisor's part, what is not the M2P's

# What an outcome has to be.
	.set	ERROR, 0		# a negative return value
	.set	FAULT, 1
	.set	HELD, 2			# 0: nothing got through; or what is allowed, worked
	.set	ANY, 3

	.section .attacks, "aw"
	.balign	4
attacks_begin:
	.text

# ATTACK begins one. It returns what came of it in EAX, or faults.
	.macro	ATTACK expect, name
	.section .attacks, "aw"
	.long	7f, 8f, \expect
	.data
7:	.asciz	"\name"
	.text
8:
	.endm

# TRY does an instruction that may fault and doesn't move the stack: the fault's vector is
# in fault_vector, else -1. All registers but ESP may be lost.
	.macro	TRY insn:vararg
	pushl	saved_esp
	pushl	resume
	movl	$-1, fault_vector
	mov	%esp, saved_esp
	movl	$9f, resume
	\insn
9:	mov	saved_esp, %esp
	popl	resume
	popl	saved_esp
	.endm

# What attacks are made of. PAGE is the n-th page of `pages`, FRAME its frame in EAX.
	.macro	PAGE n
	mov	$(pages+4096*\n), %edi
	.endm
	.macro	FRAME n
	mov	$(pages+4096*\n), %eax
	call	frame
	.endm
	.macro	REMAP n, flags
	PAGE	\n
	mov	$\flags, %esi
	call	remap
	.endm
	.macro	EXT cmd, n		# on a frame of `pages`
	FRAME	\n
	mov	%eax, %esi
	mov	$\cmd, %edi
	call	ext
	.endm
	.macro	PIN level, n
	EXT	(\level-1), \n
	.endm
	.macro	UNPIN n
	EXT	MMUEXT_UNPIN, \n
	.endm
	.include "images/guests/asm/attacks.S"
# SET gives entry i of the table that is page n the value EAX with flags.
	.macro	SET n, i, flags
	lea	\flags(%eax), %esi
	FRAME	\n
	shl	$12, %eax
	lea	8*\i(%eax), %edi
	call	mmu
	.endm
# ROOT does the same in the L3 table that the guest runs on, HIGH in its highest L2 table.
	.macro	ROOT i, flags
	lea	\flags(%eax), %esi
	mov	root, %edi
	add	$8*\i, %edi
	call	mmu
	.endm
	.macro	HIGH i, flags
	lea	\flags(%eax), %esi
	mov	high, %edi
	add	$8*\i, %edi
	call	mmu
	.endm
	.macro	ADDRESS n		# of page n in the machine
	FRAME	\n
	shl	$12, %eax
	.endm

main:	mov	start_info, %esi
	mov	SI_PT_BASE(%esi), %edi
	mov	24(%edi), %eax		# the entry of the highest GiB
	and	$0xfffff000, %eax
	mov	%eax, high
	mov	%edi, %eax
	call	frame
	shl	$12, %eax
	mov	%eax, root
5:	add	$4096, %edi
	mov	%edi, %eax
	call	frame
	shl	$12, %eax
	cmp	%eax, high
	jne	5b
	mov	%edi, high_at
	cmpb	$0, SI_CMDLINE(%esi)
	je	all
	mov	SI_CMDLINE(%esi), %eax
	mov	$words, %edx
1:	cmpl	$0, (%edx)
	je	all
	cmp	(%edx), %eax
	je	2f
	add	$12, %edx
	jmp	1b
2:	mov	SI_CMDLINE+4(%esi), %al
	cmp	4(%edx), %al
	je	3f
	add	$12, %edx
	mov	SI_CMDLINE(%esi), %eax
	jmp	1b
3:	jmp	*8(%edx)

all:	movl	$attacks_begin, attack
1:	movl	$-1, fault_vector
	mov	%esp, saved_esp
	movl	$2f, resume
	mov	attack, %eax
	call	*4(%eax)
	movl	$-1, fault_vector	# its own tries are over
2:	movl	$0, resume
	mov	saved_esp, %esp
	mov	%eax, outcome
	call	report
	addl	$12, attack
	cmpl	$attacks_end, attack
	jb	1b
last_line:
	mov	$ends, %eax
	call	puts
	mov	failures, %eax
	call	putd
	mov	$unrefused, %eax
	call	puts
	cmpl	$0, failures
	je	exit
	jmp	crash

# report prints the line of an attack.
report:	mov	$prefix, %eax
	call	puts
	mov	attack, %eax
	mov	(%eax), %eax
	call	puts
	mov	$colon, %eax
	call	puts
	mov	attack, %eax
	mov	8(%eax), %esi
	cmpl	$-1, fault_vector
	jne	2f
	mov	outcome, %eax
	call	putd
	mov	outcome, %eax
	cmp	$ANY, %esi
	je	9f
	cmp	$HELD, %esi
	je	1f
	cmp	$ERROR, %esi
	jne	8f
	cmp	$-4096, %eax
	ja	9f
	jmp	8f
1:	test	%eax, %eax
	jz	9f
	jmp	8f
2:	mov	$faulted, %eax
	call	puts
	mov	fault_vector, %eax
	call	putd
	mov	$space, %eax
	call	puts
	mov	fault_error, %eax
	call	putd
	cmp	$FAULT, %esi
	je	9f
	cmp	$ANY, %esi
	je	9f
8:	incl	failures
	mov	$bad, %eax
	call	puts
9:	mov	$newline, %eax
	jmp	puts

# putd prints EAX as a number with its sign. It keeps ESI.
putd:	mov	$number_end, %edi
	movb	$0, (%edi)
	mov	%eax, %ebx
	test	%eax, %eax
	jns	1f
	neg	%eax
1:	mov	$10, %ecx
2:	xor	%edx, %edx
	div	%ecx
	add	$'0', %dl
	dec	%edi
	mov	%dl, (%edi)
	test	%eax, %eax
	jnz	2b
	test	%ebx, %ebx
	jns	3f
	dec	%edi
	movb	$'-', (%edi)
3:	mov	%edi, %eax
	push	%esi
	call	puts
	pop	%esi
	ret

# remap maps the page at EDI with the flags ESI.
remap:	mov	%edi, %eax
	call	frame
	shl	$12, %eax
	or	%esi, %eax
# map maps EAX at EDI.
map:	mov	%edi, %ebx
	mov	%eax, %ecx
	HC	HC_UPDATE_VA_MAPPING, , , $0, $UVMF_INVLPG
	ret
# ext is the mmuext_op EDI with ESI and EDX.
ext:	mov	%edi, op
	mov	%esi, op+4
	mov	%edx, op+8
	HC	HC_MMUEXT_OP, $op, $1, $0, $DOMID_SELF
	ret
# mmu writes ESI to the machine address EDI.
mmu:	mov	%edi, op
	movl	$0, op+4
	mov	%esi, op+8
	movl	$0, op+12
	HC	HC_MMU_UPDATE, $op, $1, $0, $DOMID_SELF
	ret
# table clears the page at EDI and maps it read-only.
table:	mov	$RW, %esi
	call	remap
	push	%edi
	xor	%eax, %eax
	mov	$1024, %ecx
	rep stosl
	pop	%edi
	mov	$RO, %esi
	jmp	remap

	.include "images/guests/pv32-hostile/tables.S"
	.include "images/guests/pv32-hostile/cpu.S"
	.include "images/guests/pv32-hostile/fuzz.S"

	.data
	.balign	4
words:	.ascii	"iret0\0\0\0"
	.long	iret0
	.ascii	"iret2\0\0\0"
	.long	iret2
	.ascii	"vm86\0\0\0\0"
	.long	vm86
	.ascii	"virt\0\0\0\0"
	.long	virtual
	.ascii	"fuzz\0\0\0\0"
	.long	fuzz
	.ascii	"push\0\0\0\0"
	.long	push_table
	.long	0, 0, 0
prefix:	.asciz	"PV-HOSTILE "
colon:	.asciz	": "
faulted: .asciz	"fault "
space:	.asciz	" "
bad:	.asciz	" NOT REFUSED"
ends:	.asciz	"PV-HOSTILE END "
unrefused: .asciz " not refused\r\n"
	.section .attacks
attacks_end:
	.bss
	.balign	4096
pages:	.skip	4096*8
op:	.skip	16
attack:	.skip	4
outcome: .skip	4
failures: .skip	4
root:	.skip	4			# machine addresses of the tables
high_at: .skip	4			# where it is mapped
high:	.skip	4
number:	.skip	12
number_end: .skip 4
