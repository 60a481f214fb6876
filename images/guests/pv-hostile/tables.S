# What a frame is: page tables of each level, descriptor tables, pages that are written.

ATTACK	ERROR, "pin a page that is mapped writable"
	FREE	0
	PIN	1, 0
	ret
ATTACK	HELD, "pin a page that is mapped read-only"
	TABLE	0
	PIN	1, 0
	ret
ATTACK	ERROR, "pin it again"
	PIN	1, 0
	ret
ATTACK	ERROR, "pin it as another level"
	PIN	2, 0
	ret
ATTACK	ERROR, "map a pinned table writable, update_va_mapping"
	REMAP	0, RW
	ret
ATTACK	ERROR, "map a pinned table writable, mmu_update"
	PAGE	0
	mov	$1, %ecx
	call	entry
	mov	%rax, %r13
	FRAME	0
	shl	$12, %rax
	lea	RW(%rax), %rsi
	mov	%r13, %rdi
	call	mmu
	ret
ATTACK	ERROR, "map a pinned table writable, mmu_update that keeps A and D"
	PAGE	0
	mov	$1, %ecx
	call	entry
	lea	2(%rax), %r13
	FRAME	0
	shl	$12, %rax
	lea	RW(%rax), %rsi
	mov	%r13, %rdi
	call	mmu
	ret
ATTACK	FAULT, "map a pinned table writable, by a write to its table"
	PAGE	0
	mov	$1, %ecx
	call	entry
	mov	%rdx, %r13
	FRAME	0
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, (%r13)
	mov	(%r13), %rax
	ret
ATTACK	FAULT, "write an entry for a page table into a table"
	FRAME	0
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, pages
	ret
# Xen wants vm_assist for it first.
ATTACK	REFUSED, "write an entry for a page into a table"
	FRAME	1
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, pages+8
	mov	pages+8, %rdx
	movq	$0, pages+8
	sub	%rdx, %rax
	dec	%rax			# -1: it is there
	ret
ATTACK	ERROR, "set_gdt with a page table"
	FRAME	0
	mov	%rax, frames
	HC	HC_SET_GDT, $frames, $512
	ret
ATTACK	ERROR, "update_descriptor in a page table"
	FRAME	0
	shl	$12, %rax
	mov	%rax, %rdi
	xor	%esi, %esi
	mov	$HC_UPDATE_DESCRIPTOR, %eax
	call	hcall
	ret
ATTACK	ERROR, "clear a page table, MMUEXT_CLEAR_PAGE"
	FRAME	0
	mov	$16, %edi
	mov	%rax, %rsi
	call	ext
	ret
ATTACK	ERROR, "copy to a page table, MMUEXT_COPY_PAGE"
	FRAME	1
	mov	%rax, %r13
	FRAME	0
	mov	$17, %edi
	mov	%rax, %rsi
	mov	%r13, %rdx
	call	ext
	ret
ATTACK	HELD, "unpin"
	UNPIN	0
	ret
ATTACK	ERROR, "unpin again"
	UNPIN	0
	ret
ATTACK	HELD, "what was a table is writable"
	FREE	0
	ret
ATTACK	ERROR, "unpin a page"
	UNPIN	0
	ret

ATTACK	ERROR, "set_gdt with a page that is mapped writable"
	FREE	2
	FRAME	2
	mov	%rax, frames
	HC	HC_SET_GDT, $frames, $512
	ret
ATTACK	HELD, "set_gdt with a page that is mapped read-only"
	TABLE	2
	FRAME	2
	mov	%rax, frames
	HC	HC_SET_GDT, $frames, $512
	ret
ATTACK	ERROR, "pin a page of the GDT"
	PIN	1, 2
	ret
ATTACK	ERROR, "map a page of the GDT writable"
	REMAP	2, RW
	ret
ATTACK	FAULT, "write to a page of the GDT"
	movq	$-1, pages+4096*2
	ret
ATTACK	ERROR, "update_descriptor with a TSS"
	mov	$0x00008b0000000067, %rdx
	jmp	descriptor
ATTACK	ERROR, "update_descriptor with a call gate"
	mov	$0x0000ec00e0080000, %rdx
	jmp	descriptor
ATTACK	ERROR, "update_descriptor with an LDT"
	mov	$0x0000820000000fff, %rdx
	jmp	descriptor
ATTACK	ERROR, "update_descriptor with an interrupt gate"
	mov	$0x0000ee00e0080000, %rdx
	jmp	descriptor
ATTACK	HELD, "descriptors of code and data for ring 0 that stay so"
	mov	$0x00af9a000000ffff, %rdx
	call	descriptor
	mov	pages+4096*2+8, %rdx
	shr	$45, %rdx
	and	$7, %edx		# DPL, and P above it
	cmp	$4, %edx
	sete	%al
	movzx	%al, %r13
	mov	$0x00cf92000000ffff, %rdx
	call	descriptor
	mov	pages+4096*2+8, %rdx
	shr	$45, %rdx
	and	$7, %edx
	cmp	$4, %edx
	sete	%al
	movzx	%al, %eax
	add	%r13, %rax
	ret
ATTACK	FAULT, "load a selector of the GDT with RPL 0 as SS"
	mov	$8, %eax
	mov	%eax, %ss
	ret
ATTACK	ERROR, "update_descriptor across descriptors"
	FRAME	2
	shl	$12, %rax
	lea	12(%rax), %rdi
	mov	$0x00cff2000000ffff, %rsi
	mov	$HC_UPDATE_DESCRIPTOR, %eax
	jmp	hcall
ATTACK	HELD, "set_gdt with no page"
	HC	HC_SET_GDT, $frames, $0
	ret
ATTACK	HELD, "a page of the GDT before is writable"
	FREE	2
	ret
ATTACK	ERROR, "set_gdt with a TSS in the page"
	PAGE	2
	mov	$0x00008b0000000067, %rax
	mov	%rax, 16(%rdi)
	mov	$RO, %esi
	call	remap
	FRAME	2
	mov	%rax, frames
	HC	HC_SET_GDT, $frames, $512
	ret
ATTACK	ERROR, "set_gdt with too many entries"
	HC	HC_SET_GDT, $frames, $7169
	ret
ATTACK	ERROR, "set_gdt with a bad pointer"
	HC	HC_SET_GDT, $0xffff830000000000, $512
	ret
ATTACK	ERROR, "set_gdt with a frame beyond memory"
	movq	$-1, frames
	HC	HC_SET_GDT, $frames, $512
	ret
ATTACK	ERROR, "set_gdt with frame 0"
	movq	$0, frames
	HC	HC_SET_GDT, $frames, $512
	ret
ATTACK	ERROR, "SET_LDT that begins amid a page"
	mov	$13, %edi
	mov	$(pages+8), %esi
	mov	$16, %edx
	jmp	ext
ATTACK	ERROR, "SET_LDT with too many entries"
	mov	$13, %edi
	mov	$pages, %esi
	mov	$8193, %edx
	jmp	ext
ATTACK	ERROR, "SET_LDT in the hypervisor"
	mov	$13, %edi
	mov	$0xffff82d080000000, %rsi
	mov	$16, %edx
	jmp	ext
ATTACK	ERROR, "SET_LDT at no canonical address"
	mov	$13, %edi
	mov	$0x8000000000000000, %rsi
	mov	$16, %edx
	jmp	ext
ATTACK	FAULT, "an LDT in a page table"
	TABLE	0
	PIN	1, 0
	mov	$13, %edi
	mov	$pages, %esi
	mov	$512, %edx
	call	ext
	mov	$7, %eax
	mov	%eax, %fs
	ret
ATTACK	FAULT, "an LDT in a page that is mapped writable, amid a write"
	UNPIN	0
	FREE	0
	PAGE	1
	mov	$0x00cff2000000ffff, %rax
	mov	%rax, pages
	mov	$13, %edi
	mov	$0x7ffffffff000, %rsi	# not mapped
	mov	$512, %edx
	call	ext
	mov	$7, %eax
	mov	%eax, %fs
	ret
ATTACK	HELD, "an LDT that holds"
	REMAP	0, RO
	mov	$13, %edi
	mov	$pages, %esi
	mov	$512, %edx
	call	ext
	mov	$7, %eax
	mov	%eax, %fs
	xor	%eax, %eax
	ret
ATTACK	ERROR, "map a page of the LDT writable"
	REMAP	0, RW
	ret
ATTACK	ERROR, "pin a page of the LDT"
	PIN	1, 0
	ret
ATTACK	HELD, "no LDT"
	xor	%eax, %eax
	mov	%eax, %fs
	mov	$13, %edi
	xor	%esi, %esi
	xor	%edx, %edx
	call	ext
	mov	%rax, %r13
	FREE	0
	or	%r13, %rax
	ret

# descriptor sets the GDT's entry 1 to RDX.
descriptor:
	FRAME	2
	shl	$12, %rax
	lea	8(%rax), %rdi
	mov	%rdx, %rsi
	mov	$HC_UPDATE_DESCRIPTOR, %eax
	jmp	hcall

	.bss
	.balign	8
frames:	.skip	16*8
	.text
