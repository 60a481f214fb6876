# Page tables that are written by MOV: VMASST_TYPE_writable_pagetables. Page 0 is a table in
# use, at the address WINDOW: its L2 entry stays for entries.S.
	.set	WINDOW, 0x8000000	# not in the initial mapping's tables

ATTACK	HELD, "vm_assist: writable page tables"
	HC	HC_VM_ASSIST, $0, $2
	ret
# The L2 of the initial mapping covers 1 GiB.
ATTACK	HELD, "hook a table into the address space"
	TABLE	0
	FRAME	0
	shl	$12, %rax
	lea	0x67(%rax), %r13
	mov	$WINDOW, %edi
	mov	$2, %ecx
	call	entry
	mov	%rax, %rdi
	mov	%r13, %rsi
	jmp	mmu
ATTACK	HELD, "write an entry for a page"
	FRAME	1
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, pages
	mov	pages, %rdx
	and	$~0x100, %rdx		# Xen makes them global
	sub	%rdx, %rax
	ret
ATTACK	HELD, "and use it"
	movq	$77, WINDOW
	mov	pages+4096, %rax
	sub	$77, %rax
	ret
ATTACK	FAULT, "write an entry for a page table, writable"
	FRAME	0
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, pages+8
	xor	%eax, %eax
	ret
ATTACK	HELD, "write an entry for a page table, read-only, and read by it"
	FRAME	0
	shl	$12, %rax
	or	$RO, %rax
	mov	%rax, pages+8
	mov	WINDOW+4096, %rax
	sub	pages, %rax
	ret
ATTACK	FAULT, "make that writable, by a write of one byte"
	movb	$RW, pages+8
	xor	%eax, %eax
	ret
ATTACK	FAULT, "make that writable, by OR"
	lock orq $2, pages+8
	xor	%eax, %eax
	ret
ATTACK	FAULT, "make that writable, by BTS"
	lock btsq $1, pages+8
	xor	%eax, %eax
	ret
ATTACK	REFUSED, "make that writable, by CMPXCHG"
	mov	pages+8, %rax
	mov	%rax, %rdx
	or	$2, %rdx
	lock cmpxchg %rdx, pages+8
	mov	pages+8, %rax
	and	$2, %eax
	jnz	1f
	mov	$-1, %rax
1:	ret
ATTACK	FAULT, "make that writable, by XCHG"
	mov	pages+8, %rax
	or	$2, %rax
	xchg	%rax, pages+8
	xor	%eax, %eax
	ret
ATTACK	REFUSED, "make that writable, by CMPXCHG16B"
	mov	pages, %rax
	mov	pages+8, %rdx
	mov	%rax, %rbx
	mov	%rdx, %rcx
	or	$2, %rcx
	lock cmpxchg16b pages
	mov	pages+8, %rax
	and	$2, %eax
	jnz	1f
	mov	$-1, %rax
1:	ret
ATTACK	FAULT, "make that writable, by a write that crosses entries"
	mov	$0xffffffffffffffff, %rax
	mov	%rax, pages+4
	xor	%eax, %eax
	ret
ATTACK	REFUSED, "make that writable, by STOSQ"
	FRAME	0
	shl	$12, %rax
	or	$RW, %rax
	mov	$(pages+8), %edi
	stosq
	mov	pages+8, %rax
	and	$2, %eax
	jnz	1f
	mov	$-1, %rax
1:	ret
ATTACK	REFUSED, "make that writable, by MOVSQ from itself"
	mov	$(pages+8), %esi
	mov	$(pages+8), %edi
	movsq
	mov	pages+8, %rax
	and	$2, %eax
	jnz	1f
	mov	$-1, %rax
1:	ret
ATTACK	REFUSED, "make that writable, by an SSE store"
	movdqu	pages, %xmm0
	movdqu	%xmm0, pages
	mov	pages+8, %rax
	and	$2, %eax
	jnz	1f
	mov	$-1, %rax
1:	ret
ATTACK	REFUSED, "write an entry for a frame beyond memory"
	mov	$0x000fffffffff0067, %rax
	mov	%rax, pages+16
	mov	$-1, %rax
	ret
ATTACK	HELD, "what was refused is not there"
	mov	pages+16, %rax
	mov	pages+8, %rdx
	and	$2, %edx
	or	%rdx, %rax
	ret
ATTACK	FAULT, "write an entry for a page that is written into the L2"
	mov	$WINDOW, %edi
	mov	$2, %ecx
	call	entry
	mov	%rdx, %r13
	FRAME	1
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, 8(%r13)
	xor	%eax, %eax
	ret
ATTACK	FAULT, "write an entry for a page that is written into the L3"
	mov	$WINDOW, %edi
	mov	$3, %ecx
	call	entry
	mov	%rdx, %r13
	FRAME	1
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, 8(%r13)
	xor	%eax, %eax
	ret
ATTACK	FAULT, "write an entry for a page that is written into the L4"
	xor	%edi, %edi
	mov	$4, %ecx
	call	entry
	mov	%rdx, %r13
	FRAME	1
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, 8*300(%r13)
	xor	%eax, %eax
	ret
ATTACK	FAULT, "make that writable, by OR of one byte"
	lock orb $0x42, pages+8
	xor	%eax, %eax
	ret
ATTACK	HELD, "an entry that a write cleared faults"
	movq	$0, pages
	mov	$7, %edi		# INVLPG_LOCAL
	mov	$WINDOW, %esi
	call	ext
	TRY	movq	$1, WINDOW
	mov	fault_vector, %rax
	sub	$14, %rax
	ret
