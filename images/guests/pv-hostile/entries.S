# What an entry says: bits, frames, levels, the hypervisor's part of the address space.

ATTACK	ANY, "PAT"
	mov	$(RW+0x80), %esi
	jmp	flags
ATTACK	ANY, "PCD"
	mov	$(RW+0x10), %esi
	jmp	flags
ATTACK	ANY, "PWT"
	mov	$(RW+0x8), %esi
	jmp	flags
ATTACK	ANY, "global"
	mov	$(RW+0x100), %esi
	jmp	flags
ATTACK	ANY, "not the user's"
	mov	$(RW-4), %esi
	jmp	flags
ATTACK	ANY, "bits that are free"
	mov	$(RW+0xe00), %esi
	jmp	flags
ATTACK	ANY, "bit 52"
	mov	$(1<<52|RW), %rsi
	jmp	flags
ATTACK	ANY, "bit 58"
	mov	$(1<<58|RW), %rsi
	jmp	flags
ATTACK	ANY, "protection key"
	mov	$(0xf<<59|RW), %rsi
	jmp	flags
ATTACK	HELD, "NX"
	mov	$(1<<63|RW), %rsi
	jmp	flags
ATTACK	ERROR, "bit 51"
	mov	$(1<<51|RW), %rsi
	jmp	flags
ATTACK	ERROR, "bit 45"
	mov	$(1<<45|RW), %rsi
	jmp	flags
ATTACK	ERROR, "bit 40"
	mov	$(1<<40|RW), %rsi
	jmp	flags
ATTACK	FAULT, "execute a page that is NX"
	PAGE	3
	movb	$0xc3, (%rdi)
	mov	$(1<<63|RW), %rsi
	call	remap
	call	pages+4096*3
	ret
ATTACK	HELD, "a page's own entry again"
	REMAP	3, RW
	ret
ATTACK	ERROR, "a large page, in the L2"
	FRAME	3
	and	$~0x1ff, %rax
	shl	$12, %rax
	lea	0xe7(%rax), %rsi
	mov	$2, %ecx
	jmp	upper
ATTACK	ERROR, "a huge page, in the L3"
	mov	$0xe7, %esi
	mov	$3, %ecx
	jmp	upper
ATTACK	ERROR, "a page that is written, as a page table in the L2"
	FREE	3
	FRAME	3
	shl	$12, %rax
	lea	RW(%rax), %rsi
	mov	$2, %ecx
	jmp	upper
ATTACK	ERROR, "the L4 as an L1"
	mov	$2, %ecx
	jmp	root_in
ATTACK	ERROR, "the L4 as an L2"
	mov	$3, %ecx
	jmp	root_in
ATTACK	ERROR, "the L4 as an L3, writable"
	mov	$4, %ecx
	jmp	root_in
ATTACK	ANY, "the L4 as an L3, read-only: a linear page table"
	call	root
	lea	RO(%rax), %rsi
	mov	$4, %ecx
	call	free_entry
	mov	%rax, linear
	mov	%rax, %rdi
	jmp	mmu
ATTACK	ANY, "make it writable"
	call	root
	lea	RW(%rax), %rsi
	mov	linear, %rdi
	jmp	mmu
ATTACK	HELD, "read by it"
	mov	linear, %rax		# slot n: its own L4 is at n, n, n, n
	and	$0xff8, %eax
	mov	%rax, %rdx
	mov	$4, %ecx
	xor	%edi, %edi
1:	shl	$9, %rdi
	shr	$3, %rdx
	or	%rdx, %rdi
	mov	%rax, %rdx
	dec	%ecx
	jnz	1b
	shl	$12, %rdi
	shl	$16, %rdi		# canonical
	sar	$16, %rdi
	mov	%rdi, linear_va
	mov	start_info, %rdx
	mov	SI_PT_BASE(%rdx), %rdx
	mov	(%rdi), %rax
	sub	(%rdx), %rax
	ret
ATTACK	FAULT, "write by it"
	FRAME	3
	shl	$12, %rax
	or	$RW, %rax
	mov	linear_va, %rdi
	mov	%rax, 8*310(%rdi)
	xor	%eax, %eax
	ret
ATTACK	ANY, "an L4 of one's own that has that L4 as an L3"
	TABLE	4
	PAGE	4
	mov	$RW, %esi
	call	remap
	call	root
	or	$RO, %rax
	mov	%rax, pages+4096*4+8*300
	REMAP	4, RO
	PIN	4, 4
	ret
ATTACK	ANY, "and the first has this one: nested"
	FRAME	4
	shl	$12, %rax
	lea	RO(%rax), %rsi
	mov	linear, %rdi
	jmp	mmu
ATTACK	HELD, "all of it is gone"
	mov	linear, %rdi
	xor	%esi, %esi
	call	mmu
	UNPIN	4
	FREE	4
	ret
ATTACK	ANY, "an L3 as its own L3"
	TABLE	5
	PIN	3, 5
	SET	5, 1, 5, RO
	ret
ATTACK	ANY, "an L2 as its own L2"
	TABLE	6
	PIN	2, 6
	SET	6, 1, 6, RO
	ret
ATTACK	ERROR, "an L2 in an L2, writable"
	SET	6, 2, 6, RW
	ret
ATTACK	ERROR, "an L3 in an L2"
	SET	6, 3, 5, RW
	ret
ATTACK	HELD, "an L2 in an L3"
	SET	5, 2, 6, RW
	ret
ATTACK	ERROR, "unpin the L2 twice, while it is used"
	UNPIN	6
	UNPIN	6
	ret
ATTACK	ERROR, "write an L2 that is used"
	FREE	6
	ret
ATTACK	HELD, "unpin what holds it: both are pages again"
	SET	5, 1, 0, 0
	SET	6, 1, 0, 0
	UNPIN	5
	FREE	5
	mov	%rax, %r13
	FREE	6
	or	%r13, %rax
	ret
ATTACK	ERROR, "pin an L1 whose entries are wrong"
	FREE	7
	movq	$-1, pages+4096*7+8*17
	REMAP	7, RO
	PIN	1, 7
	ret
ATTACK	ERROR, "pin an L4 whose hypervisor part is not empty"
	FREE	7
	PAGE	7
	call	table
	PAGE	7
	mov	$RW, %esi
	call	remap
	call	root
	or	$RW, %rax
	mov	%rax, pages+4096*7+8*262
	REMAP	7, RO
	PIN	4, 7
	test	%rax, %rax		# or what is there is not taken
	js	1f
	mov	pages+4096*7+8*262, %rdx
	mov	start_info, %rax
	mov	SI_PT_BASE(%rax), %rax
	cmp	8*262(%rax), %rdx
	mov	$-1, %rax
	je	1f
	xor	%eax, %eax
1:	ret
ATTACK	HELD, "that page is writable"
	UNPIN	7
	FREE	7
	ret
	.macro	SLOT n
ATTACK	ERROR, "write entry \n of the L4"
	mov	$\n, %ecx
	jmp	slot
	.endm
	SLOT	256
	SLOT	257
	SLOT	260
	SLOT	262
	SLOT	271
ATTACK	ERROR, "clear entry 256 of the L4"
	call	root
	lea	8*256(%rax), %rdi
	xor	%esi, %esi
	jmp	mmu
ATTACK	ERROR, "mmu_update amid an entry"
	call	root
	lea	8*300+4(%rax), %rdi
	xor	%esi, %esi
	jmp	mmu
ATTACK	ANY, "mmu_update of a page that is no table"
	FREE	8
	FRAME	8
	shl	$12, %rax
	mov	%rax, %rdi
	mov	$-1, %rsi
	jmp	mmu
ATTACK	ERROR, "mmu_update amid an entry of a page that is no table"
	FRAME	8
	shl	$12, %rax
	lea	4(%rax), %rdi
	mov	$-1, %rsi
	jmp	mmu
ATTACK	ERROR, "mmu_update of frame 0"
	xor	%edi, %edi
	xor	%esi, %esi
	jmp	mmu
ATTACK	ERROR, "mmu_update beyond memory"
	mov	$0x000ffffffffff000, %rdi
	xor	%esi, %esi
	jmp	mmu
ATTACK	ERROR, "mmu_update's count with no array"
	HC	HC_MMU_UPDATE, $0x7ffffffff000, $0x7fffffff, $0, $DOMID_SELF
	ret
ATTACK	ERROR, "mmu_update's array in the hypervisor"
	HC	HC_MMU_UPDATE, $0xffff82d080200000, $1, $0, $DOMID_SELF
	ret
ATTACK	ERROR, "mmu_update for domain 0's frames"
	movq	$0, request
	movq	$0, request+8
	HC	HC_MMU_UPDATE, $request, $1, $0, $0
	ret
ATTACK	ERROR, "mmu_update for the hypervisor's frames"
	HC	HC_MMU_UPDATE, $request, $1, $0, $0x7ff2
	ret
ATTACK	ERROR, "mmu_update for a domain that isn't there"
	HC	HC_MMU_UPDATE, $request, $1, $0, $4000
	ret
ATTACK	ERROR, "mmu_update of domain 0's tables"
	HC	HC_MMU_UPDATE, $request, $1, $0, $(1<<16|DOMID_SELF)
	ret
ATTACK	ERROR, "M2P entry of frame 0"
	mov	$1, %edi
	xor	%esi, %esi
	jmp	mmu
ATTACK	ERROR, "M2P entry beyond memory"
	mov	$0x000ffffffffff001, %rdi
	xor	%esi, %esi
	jmp	mmu
ATTACK	HELD, "M2P entry of one's own frame"
	FRAME	8
	shl	$12, %rax
	lea	1(%rax), %rdi
	mov	$(pages+4096*8), %esi
	shr	$12, %esi
	jmp	mmu
ATTACK	FAULT, "write to the M2P"
	FRAME	8
	mov	$M2P, %rdx
	movq	$0, (%rdx,%rax,8)
	ret
ATTACK	ERROR, "update_va_mapping in the M2P"
	mov	$M2P, %rdi
	jmp	mapping
ATTACK	ERROR, "update_va_mapping in the hypervisor"
	mov	$0xffff82d080200000, %rdi
	jmp	mapping
ATTACK	ERROR, "update_va_mapping at the hypervisor's end"
	mov	$0xffff87fffffff000, %rdi
	jmp	mapping
ATTACK	ERROR, "update_va_mapping at no canonical address"
	mov	$0x0000800000000000, %rdi
	jmp	mapping
ATTACK	ERROR, "update_va_mapping where no table is"
	mov	$0x7ffffffff000, %rdi
	jmp	mapping
ATTACK	ERROR, "update_va_mapping of domain 0"
	xor	%edi, %edi
	xor	%esi, %esi
	xor	%edx, %edx
	HC	HC_VA_MAPPING_OTHER, , , , $0
	ret
ATTACK	ERROR, "update_va_mapping with a bitmap in the hypervisor"
	PAGE	3
	call	frame
	shl	$12, %rax
	or	$RW, %rax
	HC	HC_UPDATE_VA_MAPPING, , %rax, $0xffff82d080200002
	ret

# flags maps page 3 with RSI.
flags:	PAGE	3
	jmp	remap
# upper makes the free entry of level ECX in the tables of WINDOW's RSI.
upper:	call	free_entry
	mov	%rax, %rdi
	jmp	mmu
# free_entry is an entry of level ECX that is not used, of the tables of address 0.
free_entry:
	push	%rsi
	xor	%edi, %edi
	call	entry
	pop	%rsi
	and	$~0xfff, %rax
	add	$(8*305), %rax
	ret
# root is the L4's machine address.
root:	mov	start_info, %rdx
	mov	SI_PT_BASE(%rdx), %rdi
	call	frame
	shl	$12, %rax
	ret
root_in: call	root
	lea	RW(%rax), %rsi
	jmp	upper
slot:	call	root
	lea	(%rax,%rcx,8), %rdi
	lea	RO(%rax), %rsi
	jmp	mmu
# mapping tries to map page 3 at RDI.
mapping: push	%rdi
	FRAME	3
	shl	$12, %rax
	lea	RW(%rax), %rsi
	pop	%rdi
	jmp	va_map

	.bss
	.balign	8
linear:	.skip	8			# the entry's machine address
linear_va: .skip 8			# the L4 by way of it
	.text
