# A PV guest that tries known ways to get at what is not its own. The command line says
# which: nothing for all that a guest survives, one after another, or a word:
#
#   race  two vcpus, of which one writes to what the other one makes a page table
#   push  faults with its stack in a page table
#   spin  holds its CPU, with events masked
#   fuzz  calls every number with bad arguments
#
# Each attack is a line
#
#   PV-HOSTILE name: outcome
#
# whose outcome is what the hypercall returned, "fault" with its vector and error code, or
# for those that count what got through, that count; " NOT REFUSED" follows what the
# hypervisor should have refused. The last line is "PV-HOSTILE END n not refused"; the guest
# crashes, if that isn't 0.
#
# References: those of asm/pv64.S; memory.h, vcpu.h, grant_table.h, physdev.h, callback.h;
# Xen Security Advisories' public texts, for what has been tried on hypervisors before.
	.include "images/guests/asm/pv64.S"

# What an outcome has to be.
	.set	ERROR, 0		# a negative return value
	.set	FAULT, 1
	.set	REFUSED, 2		# one of them
	.set	HELD, 3			# 0: nothing got through; or what is allowed, worked
	.set	NONE, 5			# a negative value, or 0 of what was asked for
	.set	ANY, 4			# what it is, is compared with other hypervisors

	.section .attacks, "aw"
	.balign	8
attacks_begin:
	.text

# ATTACK begins one. It returns what came of it in RAX, or faults.
	.macro	ATTACK expect, name
	.section .attacks, "aw"
	.quad	7f, 8f, \expect
	.data
7:	.asciz	"\name"
	.text
8:
	.endm

# What attacks are made of. PAGE is the n-th page of `pages`.
	.macro	PAGE n, reg=%rdi
	mov	$(pages+4096*\n), \reg
	.endm
	.macro	FRAME n			# its frame, in RAX
	PAGE	\n
	call	frame
	.endm
	.macro	REMAP n, flags
	PAGE	\n
	mov	$\flags, %esi
	call	remap
	.endm
	.macro	PIN level, n		# 1 to 4
	FRAME	\n
	mov	$(\level-1), %edi
	mov	%rax, %rsi
	call	ext
	.endm
	.macro	UNPIN n
	FRAME	\n
	mov	$4, %edi
	mov	%rax, %rsi
	call	ext
	.endm
	.include "images/guests/asm/attacks.S"
# SET writes an entry of a table by mmu_update: that of index i gets frame m's with flags.
	.macro	SET n, i, m, flags
	FRAME	\m
	shl	$12, %rax
	mov	$\flags, %rsi
	or	%rax, %rsi
	FRAME	\n
	shl	$12, %rax
	lea	8*\i(%rax), %rdi
	call	mmu
	.endm

main:	mov	start_info, %rax
	add	$SI_CMDLINE, %rax
	cmpb	$0, (%rax)
	je	all
	mov	(%rax), %rax		# words differ in four letters
	mov	$words, %edx
1:	cmpq	$0, (%rdx)
	je	all
	cmp	(%rdx), %eax
	je	2f
	add	$16, %rdx
	jmp	1b
2:	jmp	*8(%rdx)

all:	mov	$attacks_begin, %r12d
1:	movq	$-1, fault_vector
	mov	%rsp, saved_rsp
	movq	$2f, resume
	push	%r12
	call	*8(%r12)
	movq	$-1, fault_vector	# its own tries are over
2:	movq	$0, resume
	mov	saved_rsp, %rsp
	mov	-8(%rsp), %r12
	mov	%rax, outcome
	call	report
	add	$24, %r12
	cmp	$attacks_end, %r12
	jb	1b
last_line:
	mov	$prefix, %esi
	call	puts
	mov	$ends, %esi
	call	puts
	mov	failures, %rax
	call	putd
	mov	$unrefused, %esi
	call	puts
	cmpq	$0, failures
	je	exit
	jmp	crash

# report prints the line of attack R12.
report:	mov	$prefix, %esi
	call	puts
	mov	(%r12), %rsi
	call	puts
	mov	$colon, %esi
	call	puts
	mov	16(%r12), %ebp
	cmpq	$-1, fault_vector
	jne	1f
	mov	outcome, %rax
	call	putd
	mov	outcome, %rax
	cmp	$ANY, %ebp
	je	9f
	cmp	$HELD, %ebp
	je	2f
	cmp	$FAULT, %ebp
	je	8f
	cmp	$NONE, %ebp
	jne	3f
	dec	%rax			# 0 is as good as an error
3:	test	%rax, %rax
	jns	8f
	cmp	$-4096, %rax
	ja	9f
	jmp	8f
2:	test	%rax, %rax
	jz	9f
	jmp	8f
1:	mov	$faulted, %esi
	call	puts
	mov	fault_vector, %rax
	call	putd
	mov	$space, %esi
	call	puts
	mov	fault_error, %rax
	call	putd
	cmp	$HELD, %ebp
	je	8f
	cmp	$NONE, %ebp
	je	8f
	cmp	$ERROR, %ebp
	jne	9f
8:	incq	failures
	mov	$bad, %esi
	call	puts
9:	mov	$newline, %esi
	jmp	puts

# table clears the page at RDI and maps it read-only.
table:	push	%rdi
	mov	$RW, %esi
	call	remap
	mov	(%rsp), %rdi
	xor	%eax, %eax
	mov	$512, %ecx
	rep stosq
	pop	%rdi
	mov	$RO, %esi
	jmp	remap

	.include "images/guests/pv-hostile/tables.S"
	.include "images/guests/pv-hostile/writes.S"
	.include "images/guests/pv-hostile/entries.S"
	.include "images/guests/pv-hostile/memory.S"
	.include "images/guests/pv-hostile/cpu.S"
	.include "images/guests/pv-hostile/race.S"
	.include "images/guests/pv-hostile/calls.S"
	.include "images/guests/pv-hostile/scan.S"
	.include "images/guests/pv-hostile/fuzz.S"

	.data
	.balign	8
words:	.ascii	"race\0\0\0\0"
	.quad	race
	.ascii	"push\0\0\0\0"
	.quad	push
	.ascii	"spin\0\0\0\0"
	.quad	spin
	.ascii	"fuzz\0\0\0\0"
	.quad	fuzz
	.quad	0, 0
prefix:	.asciz	"PV-HOSTILE "
colon:	.asciz	": "
faulted: .asciz	"fault "
space:	.asciz	" "
bad:	.asciz	" NOT REFUSED"
ends:	.asciz	"END "
unrefused: .asciz " not refused\r\n"
	.section .attacks
attacks_end:
	.bss
	.balign	4096
pages:	.skip	4096*32
outcome: .skip	8
failures: .skip	8
