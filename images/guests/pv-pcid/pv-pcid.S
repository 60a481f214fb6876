	.text
# Changes between the guest's kernel and its process, in whose page tables the same address
# leads to other pages, and changes these page tables: each side has to find what its own
# tables say, after each way to tell the processor that they have changed.
#
# References: those of asm/pv64.S; callback.h, arch-x86/xen-x86_64.h (struct iret_context).
	.set	ROUNDS, 6000		# a multiple of the ways
	.set	TEST, 0x8000000000	# slot 1
	.set	MMUEXT_NEW_BASEPTR, 5
	.set	MMUEXT_TLB_FLUSH_LOCAL, 6
	.set	MMUEXT_INVLPG_LOCAL, 7
	.set	MMUEXT_TLB_FLUSH_ALL, 10
	.set	MMUEXT_INVLPG_ALL, 11
	.set	MMUEXT_NEW_USER_BASEPTR, 15
	.set	VGCF_IN_SYSCALL, 0x100

	.include "images/guests/asm/pv64.S"

# TABLE makes the page at \table a page table with the entry \to in slot \slot, read-only.
	.macro	TABLE table, slot, to
	mov	$\to, %edi
	call	frame
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, \table+8*\slot
	mov	$\table, %edi
	mov	$RO, %esi
	call	remap
	test	%rax, %rax
	jnz	failed
	.endm

# ENTRY makes \entry the machine address of the first entry of \table.
	.macro	ENTRY entry, table
	mov	$\table, %edi
	call	frame
	shl	$12, %rax
	mov	%rax, \entry
	.endm

main:	# two pages, which say which they are; either side begins with its own
	movq	$0, pages
	movq	$1, pages+4096
	TABLE	l1k, 0, pages
	TABLE	l2k, 0, l1k
	TABLE	l3k, 0, l2k
	TABLE	l1u, 0, (pages+4096)
	TABLE	l2u, 0, l1u
	TABLE	l3u, 0, l2u
	ENTRY	entries, l1k
	ENTRY	entries+8, l1u
	# the process's root has the kernel's slot 0: the same code and data
	xor	%edi, %edi
	mov	$4, %ecx
	call	entry
	mov	(%rdx), %rcx
	mov	%rcx, l4u
	mov	%rdx, %rdi
	call	frame
	mov	%rax, roots
	TABLE	l4u, 1, l3u
	mov	$l4u, %edi
	call	frame
	mov	%rax, roots+8
	mov	$l3k, %edi
	call	frame
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, %rsi
	mov	roots, %rdi
	shl	$12, %rdi
	add	$8, %rdi
	call	mmu
	test	%rax, %rax
	jnz	failed
	mov	$MMUEXT_NEW_USER_BASEPTR, %edi
	mov	roots+8, %rsi
	call	ext
	test	%rax, %rax
	jnz	failed
	HC	HC_CALLBACK_OP, $0, $callback
	test	%rax, %rax
	jnz	failed
	HC	HC_STACK_SWITCH, $0xe02b, $stack_end
	test	%rax, %rax
	jnz	failed
	mov	$stack_end, %esp
	push	$0xe02b
	push	$process_stack_end
	push	$0x200
	push	$PRIVATE_CS
	push	$process
	push	$VGCF_IN_SYSCALL	# the rest of struct iret_context is the page's
	jmp	hypercall_page+HC_IRET*32

# The process tells its kernel what it reads.
process: mov	$TEST, %rbx
1:	mov	(%rbx), %rdi
	syscall
	jmp	1b

# The kernel finds RCX, R11, RIP, CS, RFLAGS, RSP, SS on the stack.
called:	cmp	want+8, %rdi
	mov	$stale_user, %esi
	jne	stale
	mov	$TEST, %rbx
	mov	(%rbx), %rdi
	cmp	want, %rdi
	mov	$stale_kernel, %esi
	jne	stale
	# change a side's page and say so, the next way
	incq	round
	cmpq	$ROUNDS, round
	je	passed
	mov	round, %rax
	xor	%edx, %edx
	mov	$NWAYS, %ecx
	div	%rcx
	imul	$24, %edx, %ebp
	mov	ways(%rbp), %r12	# the side
	cmp	$2, %r12
	je	back			# neither changes
	mov	want(,%r12,8), %rdi
	xor	$1, %edi
	mov	%rdi, want(,%r12,8)
	shl	$12, %rdi
	add	$pages, %rdi
	call	frame
	shl	$12, %rax
	or	$RO, %rax
	mov	%rax, %rsi
	cmpq	$0, ways+8(%rbp)
	je	1f
	mov	entries(,%r12,8), %rdi
	call	mmu
	test	%rax, %rax
	jnz	failed
	mov	ways+8(%rbp), %edi
	mov	ways+16(%rbp), %rsi
	cmp	$TEST>>32, %rsi
	jne	2f
	shl	$32, %rsi
	jmp	3f
2:	mov	roots(%rsi), %rsi
3:	call	ext
	test	%rax, %rax
	jnz	failed
	jmp	back
1:	mov	$TEST, %rdi		# of the tables that are loaded
	HC	HC_UPDATE_VA_MAPPING, , , ways+16(%rbp)
	test	%rax, %rax
	jnz	failed
	# and looks at once
back:	mov	$TEST, %rbx
	mov	(%rbx), %rdi
	cmp	want, %rdi
	mov	$stale_kernel, %esi
	jne	stale
	pop	%rcx
	pop	%r11
	push	$VGCF_IN_SYSCALL
	jmp	hypercall_page+HC_IRET*32

# A line of the host's log says how it went.
say:	mov	%rsi, %rdx
	xor	%esi, %esi
1:	cmpb	$0, (%rdx,%rsi)
	je	2f
	inc	%rsi
	jmp	1b
2:	xor	%edi, %edi		# CONSOLEIO_write
	HC	HC_CONSOLE_IO
	ret

stale:	call	say
	jmp	crash
failed:	mov	$refused, %esi
	call	say
	jmp	crash
passed:	mov	$pass, %esi
	call	say
	jmp	exit

	.data
refused: .asciz	"PV-PCID FAIL a hypercall is refused\n"
stale_user: .asciz "PV-PCID FAIL the process reads another page\n"
stale_kernel: .asciz "PV-PCID FAIL the kernel reads another page\n"
pass:	.asciz	"PV-PCID PASS\n"
	.balign	8
callback: .short 2, 0			# struct callback_register: CALLBACKTYPE_syscall
	.long	0
	.quad	called
want:	.quad	0, 1			# what the kernel reads, and the process
# Whose table changes; by which mmuext_op and its argument, or with 0 by update_va_mapping and its flags.
ways:	.quad	0, MMUEXT_INVLPG_LOCAL, TEST>>32
	.quad	1, MMUEXT_INVLPG_LOCAL, TEST>>32
	.quad	2, 0, 0
	.quad	0, MMUEXT_TLB_FLUSH_LOCAL, 0
	.quad	1, MMUEXT_TLB_FLUSH_LOCAL, 0
	.quad	0, 0, 2			# UVMF_INVLPG, here
	.quad	1, MMUEXT_INVLPG_ALL, TEST>>32
	.quad	1, MMUEXT_TLB_FLUSH_ALL, 0
	.quad	0, MMUEXT_NEW_BASEPTR, 0
	.quad	1, MMUEXT_NEW_USER_BASEPTR, 8
	.quad	0, 0, 1			# UVMF_TLB_FLUSH, here
	.quad	0, MMUEXT_TLB_FLUSH_ALL, 0
ways_end:
	.set	NWAYS, (ways_end-ways)/24

	.bss
	.balign	4096
pages:	.skip	8192
l4u:	.skip	4096
l3u:	.skip	4096
l2u:	.skip	4096
l1u:	.skip	4096
l3k:	.skip	4096
l2k:	.skip	4096
l1k:	.skip	4096
process_stack: .skip 4096
process_stack_end:
entries: .skip	16			# of the kernel's and the process's tables for TEST
roots:	.skip	16
round:	.skip	8
