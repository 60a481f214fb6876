# Every hypercall with bad arguments. What stops this vcpu as it should, or takes its own
# stack, is left out: sched_op's block, shutdown and poll, vcpu_op's down, iret.

push:	TABLE	0
	PIN	1, 0
	mov	$(pages+2048), %esp
	movq	$1, resume
	push	%rax
spin:	jmp	spin

fuzz:	HC	HC_SET_TRAP_TABLE, $traps
	xor	%r14d, %r14d		# number
1:	xor	%r15d, %r15d		# first argument's index
2:	xor	%ebx, %ebx		# the others'
3:	mov	%r15, %rdi
	cmp	$64, %r15
	jb	4f
	mov	values-64*8(,%r15,8), %rdi
4:	cmp	$HC_IRET, %r14d
	je	7f
	cmp	$6, %r14d		# sched_op_compat
	je	7f
	cmp	$HC_SET_TRAP_TABLE, %r14d	# one could hit
	je	7f
	cmp	$HC_VCPU_OP, %r14d
	jne	5f
	cmp	$2, %r15d
	je	7f
5:	lea	-1(%r15), %eax
	cmp	$HC_SCHED_OP, %r14d
	jne	5f
	cmp	$3, %eax
	jb	7f
5:	mov	values(,%rbx,8), %rsi
	mov	%rsi, %rdx
	mov	%rsi, %r10
	mov	%rsi, %r8
	mov	%rsi, %r9
	cmp	$HC_CONSOLE_IO, %r14d
	jne	5f
	and	$0xfff, %esi
5:	cmp	$HC_GRANT_TABLE_OP, %r14d
	jne	5f
	and	$7, %edx
5:	cmp	$HC_MULTICALL, %r14d
	jne	5f
	mov	%rdx, %rdi
	mov	%r15d, %esi
	and	$3, %esi
5:	mov	%r14d, %eax
	push	%r15
	push	%r14
	push	%rbx
	TRY	syscall
	pop	%rbx
	pop	%r14
	pop	%r15
	incq	calls
7:	inc	%ebx
	cmp	$NVALUES, %ebx
	jb	3b
	inc	%r15
	cmp	$(64+NVALUES), %r15
	jb	2b
	inc	%r14d
	cmp	$96, %r14d
	jb	1b
	mov	$fuzzed, %esi
	call	said
	mov	calls, %rax
	call	putd
	mov	$newline, %esi
	call	puts
	jmp	last_line

	.data
	.balign	8
# NULL, all ones, not canonical, not mapped, the M2P, the hypervisor, the end of the hole,
# a good page, odd, across its end, huge.
values:	.quad	0, -1, 0x8000000000000000, 0x7ffffffff000, M2P, 0xffff82d080200000, 0xffff830000000000
	.quad	0xffff87fffffffffc, pages+4096*25, pages+4096*25+1, 0x7ffffffffffffffc, 0x0000800000000000-8
	.set	NVALUES, (. - values) / 8
fuzzed:	.asciz	"fuzz: calls: "
	.bss
calls:	.skip	8
	.text
