# Every hypercall with bad arguments. What stops this vcpu as it should, or takes its own stack,
# is left out: sched_op's block, shutdown and poll, vcpu_op's down, iret. So are breakpoints, and
# the trap table.

fuzz:	movl	$0, number_of
1:	movl	$0, first		# the first argument, or a value's index behind 63
2:	xor	%esi, %esi		# the others' index
3:	mov	first, %ebx
	cmp	$64, %ebx
	jb	4f
	mov	values-64*4(,%ebx,4), %ebx
4:	mov	number_of, %eax
	cmp	$HC_SET_TRAP_TABLE, %eax
	je	7f
	cmp	$6, %eax		# sched_op_compat
	je	7f
	cmp	$8, %eax		# set_debugreg
	je	7f
	cmp	$HC_IRET, %eax
	je	7f
	cmp	$HC_VCPU_OP, %eax
	jne	5f
	cmpl	$2, first
	je	7f
5:	cmp	$HC_SCHED_OP, %eax
	jne	5f
	mov	first, %ecx
	dec	%ecx
	cmp	$3, %ecx
	jb	7f
5:	mov	%esi, others
	mov	values(,%esi,4), %ecx
	mov	%ecx, %edx
	mov	%ecx, %esi
	mov	%ecx, %edi
	mov	%ecx, %ebp
	cmp	$18, %eax		# console_io
	jne	5f
	and	$0xfff, %ecx
5:	cmp	$20, %eax		# grant_table_op
	jne	5f
	and	$7, %edx
5:	cmp	$HC_MULTICALL, %eax
	jne	5f
	mov	%edx, %ebx
	mov	first, %ecx
	and	$3, %ecx
5:	TRY	int $0x82
	incl	calls
	mov	others, %esi
7:	inc	%esi
	cmp	$NVALUES, %esi
	jb	3b
	incl	first
	cmpl	$(64+NVALUES), first
	jb	2b
	incl	number_of
	cmpl	$96, number_of
	jb	1b
	mov	$fuzzed, %eax
	call	puts
	mov	calls, %eax
	call	putd
	mov	$newline, %eax
	call	puts
	jmp	last_line

	.data
	.balign	4
# NULL, all ones, not mapped, the M2P, the hypervisor's part, the end of 4 GiB, a good page, odd,
# across its end, huge.
values:	.long	0, -1, 0x7ffff000, M2P, HOLE, 0xfffffffc, pages+4096*4, pages+4096*4+1, pages+4096*5-2, 0x7ffffffc
	.set	NVALUES, (. - values) / 4
fuzzed:	.asciz	"fuzz: calls: "
	.bss
	.balign	4
number_of: .skip 4
first:	.skip	4
others:	.skip	4
calls:	.skip	4
	.text
