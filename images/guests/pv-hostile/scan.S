	.set	ALL, 0x50000		# frames; a sample of those behind

# Frames of others: those of the first 4 GiB that the M2P doesn't give to this guest, mapped
# read-only in turn. What gets through is counted, and the last one told.
ATTACK	HELD, "map every frame that is not one's own"
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	mov	start_info, %rax
	mov	SI_SHARED_INFO(%rax), %r15
	shr	$12, %r15
1:	cmp	%r15, %r14		# those that are shared with it are its own
	je	3f
	cmp	grant_frames, %r14
	je	3f
	mov	$M2P, %rax
	mov	$-1, %rbx
	push	%r13
	TRY	mov	(%rax,%r14,8), %rbx
	pop	%r13
	mov	start_info, %rax
	cmp	SI_NR_PAGES(%rax), %rbx
	jae	2f
	mov	mfn_list, %rax
	cmp	(%rax,%rbx,8), %r14
	je	3f
2:	mov	%r14, %rsi
	shl	$12, %rsi
	or	$RO, %rsi
	PAGE	15
	HC	HC_UPDATE_VA_MAPPING, , , $0
	test	%rax, %rax
	js	3f
	inc	%r13
	mov	%r14, last
3:	inc	%r14
	cmp	$ALL, %r14
	jb	1b
	add	$63, %r14
	cmp	$0x100000, %r14
	jb	1b
	REMAP	15, RW
	test	%r13, %r13
	jz	4f
	mov	$through, %esi
	call	puts
	mov	last, %rax
	call	puthex
	mov	$newline, %esi
	call	puts
4:	mov	%r13, %rax
	ret

	.data
through: .asciz	"the last is "
	.bss
	.balign	8
last:	.skip	8
	.text
