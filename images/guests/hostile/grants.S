# Attacks by grants: a table of nonsense, mapped and copied by this guest itself and
# from others, while the pages come and go and the version changes.
# References: public headers grant_table.h, memory.h, arch-x86/cpuid.h (domain's number).
	.set	MAP, 0
	.set	UNMAP, 1
	.set	COPY, 5
	.set	SET_VERSION, 8
	.set	SWAP, 11
	.set	XENMEM_POPULATE, 6
	.set	WINDOW, 0x2000		# guest frames: 32 of memory
	.set	TABLE, 0x2100		# where the table is, over memory
	.set	EMPTY, 0x10000		# beyond memory
	.set	NEACH, 8		# structures a call

grants:	xor	%r12d, %r12d		# our number
	mov	$0x40000004, %eax
	xor	%ecx, %ecx
	cpuid
	bt	$4, %eax
	jnc	1f
	mov	%ecx, %r12d
1:	xor	%ebx, %ebx
2:	mov	%rbx, memargs+8
	lea	TABLE(%rbx), %rax
	movl	$0x7ff0, memargs
	movl	$1, memargs+4
	mov	%rax, memargs+16
	mov	$XENMEM_ADD_TO_PHYSMAP, %edi
	call	memop
	inc	%ebx
	cmp	$4, %ebx
	jb	2b
	mov	$10000, %r15d
round:	call	grantentry
	call	random
	mov	%rax, %rbx
	and	$7, %eax
	movzbl	grantops(%rax), %r13d
	mov	$grantbuf, %ebp
	mov	$NEACH, %r14d
3:	call	random
	mov	%rax, %rbx
	cmp	$MAP, %r13d
	je	mapargs
	cmp	$UNMAP, %r13d
	je	unmapargs
	cmp	$COPY, %r13d
	je	copyargs
	mov	%eax, %ecx		# swap: two references
	and	$63, %ecx
	mov	%ecx, (%rbp)
	shr	$8, %eax
	and	$63, %eax
	mov	%eax, 4(%rbp)
	add	$12, %ebp
filled:	dec	%r14d
	jnz	3b
	mov	%r13d, %edi
	mov	$grantbuf, %esi
	mov	$NEACH, %edx
	mov	$HC_GRANT_TABLE_OP, %eax
	call	try
	test	%r13d, %r13d
	jnz	5f
	mov	$grantbuf, %ebp		# the handles of what was mapped
	mov	$NEACH, %ecx
4:	cmpw	$0, 18(%rbp)
	jne	6f
	mov	20(%rbp), %eax
	and	$255, %eax
	mov	(%rbp), %rdx
	mov	%rdx, gfns(,%rax,8)
	incl	mapped
6:	add	$32, %ebp
	loop	4b
5:	mov	%ebx, %eax		# touch a page that may be another's
	and	$31, %eax
	add	$EMPTY, %eax
	shl	$12, %rax
	put	mov %rbx, 8(%rax)
	put	lock incl 16(%rax)
	test	$15, %r15b
	jnz	7f
	call	grantmem
7:	test	$255, %r15b
	jnz	8f
	and	$3, %ebx		# a version, or none
	mov	%ebx, grantbuf
	mov	$SET_VERSION, %edi
	mov	$grantbuf, %esi
	mov	$1, %edx
	mov	$HC_GRANT_TABLE_OP, %eax
	call	try
8:	dec	%r15d
	jnz	round
	cmpl	$0, mapped		# nothing was attacked
	je	spin
	ret				# with pages mapped

# grantdom: a domain in ECX: this one mostly.
grantdom: mov	%r12d, %ecx
	bt	$40, %rbx
	jc	1f
	ret
1:	mov	%rbx, %rcx
	shr	$41, %rcx
	and	$7, %ecx
	movzwl	grantdoms(,%rcx,2), %ecx
	ret

mapargs: mov	%ebx, %eax
	and	$31, %eax
	mov	$EMPTY, %ecx
	mov	$WINDOW, %edx
	bt	$30, %ebx
	cmovc	%edx, %ecx
	add	%ecx, %eax
	shl	$12, %rax
	mov	%rax, (%rbp)
	mov	%ebx, %eax
	shr	$5, %eax
	and	$4, %eax
	or	$2, %eax
	bt	$29, %ebx
	jnc	1f
	mov	%ebx, %eax		# flags of any kind
	shr	$8, %eax
	and	$31, %eax
1:	mov	%eax, 8(%rbp)
	mov	%ebx, %eax
	shr	$13, %eax
	and	$63, %eax
	mov	%eax, 12(%rbp)
	call	grantdom
	mov	%cx, 16(%rbp)
	movw	$-1, 18(%rbp)
	add	$32, %ebp
	jmp	filled

unmapargs: mov	%ebx, %eax
	and	$255, %eax
	mov	%eax, 16(%rbp)
	mov	gfns(,%rax,8), %rax
	bt	$20, %ebx
	jnc	1f
	xor	%rbx, %rax		# not where it is
1:	mov	%rax, (%rbp)
	movq	$0, 8(%rbp)
	add	$24, %ebp
	jmp	filled

copyargs: mov	%ebx, %eax		# frames or references
	and	$63, %eax
	bt	$50, %rbx
	jc	1f
	add	$WINDOW, %eax
1:	mov	%rax, (%rbp)
	call	grantdom
	mov	%cx, 8(%rbp)
	mov	%ebx, %eax
	shr	$6, %eax
	and	$0x7ff, %eax
	mov	%ax, 10(%rbp)
	ror	$17, %rbx
	mov	%ebx, %eax
	and	$63, %eax
	bt	$34, %rbx
	jc	1f
	add	$WINDOW, %eax
1:	mov	%rax, 16(%rbp)
	call	grantdom
	mov	%cx, 24(%rbp)
	mov	%ebx, %eax
	shr	$6, %eax
	and	$0xfff, %eax
	mov	%ax, 26(%rbp)
	ror	$13, %rbx
	mov	%ebx, %eax
	and	$0xfff, %eax
	mov	%ax, 32(%rbp)
	rol	$30, %rbx
	mov	%rbx, %rax
	shr	$50, %rax
	and	$1, %eax
	mov	%rbx, %rcx
	shr	$50, %rcx
	and	$2, %ecx
	or	%ecx, %eax
	mov	%ax, 34(%rbp)
	add	$40, %ebp
	jmp	filled

# An entry of either version: mostly a page, to itself; else anything.
grantentry: call random
	mov	%rax, %rbx
	mov	%ebx, %edi
	and	$63, %edi
	shl	$3, %edi
	add	$(TABLE << 12), %edi
	mov	%ebx, %eax
	shr	$6, %eax
	and	$0x1ff, %eax
	bt	$16, %ebx
	jc	1f
	mov	$1, %eax		# GTF_permit_access
1:	call	grantdom
	shl	$16, %ecx
	or	%ecx, %eax
	mov	%ebx, %ecx
	shr	$20, %ecx
	and	$63, %ecx
	add	$WINDOW, %ecx
	bt	$60, %rbx
	jc	2f
	mov	%ecx, 4(%rdi)		# of version 1
	mov	%eax, (%rdi)
	ret
2:	and	$~8, %edi		# of version 2
	mov	%ebx, 4(%rdi)
	mov	%rcx, 8(%rdi)
	mov	%eax, (%rdi)
	ret

# A frame of the window is given back, or had again.
grantmem: mov	%ebx, %eax
	shr	$8, %eax
	and	$31, %eax
	add	$WINDOW, %eax
	mov	%rax, scratch
	movq	$scratch, memargs
	movq	$1, memargs+8
	movq	$0, memargs+16
	movl	$0x7ff0, memargs+24
	mov	$XENMEM_POPULATE, %edi
	bt	$14, %ebx
	jc	memop
	mov	$XENMEM_DECREASE, %edi
	jmp	memop

	.data
grantops: .byte	MAP, MAP, UNMAP, UNMAP, COPY, COPY, COPY, SWAP
	.balign	2
grantdoms: .short 0x7ff0, 0, 1, 2, 0x7ff1, 0x7ff2, -1, 0x7ff0
	.bss
	.balign	8
mapped:	.skip	8
grantbuf: .skip	512
	.text
