# The page directory of four entries, the L2 table with the hypervisor's part, the
# machine-to-physical table, and what may be a table. Pages: 0 an L3, 1 an L1, 2 an L2.

# l3 pins page 0 as an L3 whose entry ECX is EDX:EAX, and unpins it again.
l3:	push	%eax
	push	%edx
	push	%ecx
	FREE	0
	xor	%eax, %eax
	mov	$1024, %ecx
	rep stosl
	pop	%ecx
	popl	pages+4(,%ecx,8)
	popl	pages(,%ecx,8)
	REMAP	0, RO
	PIN	3, 0
	push	%eax
	UNPIN	0
	FREE	0
	pop	%eax
	ret

ATTACK	HELD, "an L1 and an L2"
	TABLE	1
	PIN	1, 1
	push	%eax
	TABLE	2
	PIN	2, 2
	pop	%edx
	or	%edx, %eax
	ret
ATTACK	ERROR, "pin an L4"
	TABLE	0
	PIN	4, 0
	ret
ATTACK	ERROR, "pin an L3 with an L1 in it"
	ADDRESS	1
	or	$1, %eax
	xor	%edx, %edx
	xor	%ecx, %ecx
	jmp	l3
ATTACK	ERROR, "pin an L3 with a writable page in it"
	ADDRESS	5
	or	$1, %eax
	xor	%edx, %edx
	mov	$1, %ecx
	jmp	l3
ATTACK	ERROR, "pin an L3 with frame 0 in it"
	mov	$1, %eax
	xor	%edx, %edx
	mov	$2, %ecx
	jmp	l3
ATTACK	ERROR, "pin an L3 with a frame beyond memory in it"
	mov	$0xfffff001, %eax
	mov	$0x000fffff, %edx
	mov	$2, %ecx
	jmp	l3
ATTACK	ERROR, "pin an L3 with itself in it"
	ADDRESS	0
	or	$1, %eax
	xor	%edx, %edx
	xor	%ecx, %ecx
	jmp	l3
ATTACK	ERROR, "pin an L3 with an L2 without the hypervisor's part as its highest"
	ADDRESS	2
	or	$1, %eax
	xor	%edx, %edx
	mov	$3, %ecx
	jmp	l3
ATTACK	ERROR, "pin an L3 with the hypervisor's part at 0"
	mov	high, %eax
	or	$1, %eax
	xor	%edx, %edx
	xor	%ecx, %ecx
	jmp	l3
ATTACK	ANY, "pin an L3 with the highest L2 of another one"
	mov	high, %eax
	or	$1, %eax
	xor	%edx, %edx
	mov	$3, %ecx
	jmp	l3
ATTACK	ANY, "pin an L3 with reserved bits in an entry"
	ADDRESS	2
	or	$0x67, %eax
	mov	$0x80000000, %edx
	xor	%ecx, %ecx
	jmp	l3
ATTACK	HELD, "pin an L3 with what it should not have, behind its four entries"
	mov	$1, %eax		# frame 0
	xor	%edx, %edx
	mov	$4, %ecx
	jmp	l3

ATTACK	ERROR, "map the L3 one runs on writable"
	mov	start_info, %edi
	mov	SI_PT_BASE(%edi), %edi
	mov	$RW, %esi
	jmp	remap
# Nobody asked for VMASST_TYPE_writable_pagetables.
ATTACK	FAULT, "write a page into the L3 one runs on"
	ADDRESS	5
	or	$1, %eax
	mov	start_info, %edi
	mov	SI_PT_BASE(%edi), %edi
	mov	%eax, (%edi)
	ret
ATTACK	FAULT, "write an L2 without the hypervisor's part as its highest"
	ADDRESS	2
	or	$1, %eax
	mov	start_info, %edi
	mov	SI_PT_BASE(%edi), %edi
	mov	%eax, 24(%edi)
	ret
ATTACK	FAULT, "write a fifth entry of the L3 one runs on"
	mov	start_info, %edi
	mov	SI_PT_BASE(%edi), %edi
	movl	$0, 32(%edi)
	ret
ATTACK	HELD, "write an L2 into the L3 one runs on, and take it away"
	ADDRESS	2
	or	$1, %eax
	mov	start_info, %edi
	mov	SI_PT_BASE(%edi), %edi
	mov	%eax, (%edi)
	mov	(%edi), %ebx
	and	$~6, %ebx
	movl	$0, (%edi)
	sub	%ebx, %eax
	or	(%edi), %eax
	ret
ATTACK	FAULT, "write a large page into the highest L2"
	mov	high_at, %edi
	movl	$0xe1, (%edi)
	ret
ATTACK	FAULT, "write to the hypervisor's part of the highest L2"
	mov	high_at, %edi
	movl	$0, 4088(%edi)
	ret
ATTACK	ERROR, "an L1 in the L3 one runs on"
	ADDRESS	1
	ROOT	0, 1
	ret
ATTACK	ERROR, "a page in the L3 one runs on"
	ADDRESS	5
	ROOT	0, 1
	ret
ATTACK	ERROR, "the L3 one runs on in itself"
	mov	root, %eax
	ROOT	0, 1
	ret
ATTACK	ERROR, "an L2 without the hypervisor's part as its highest"
	ADDRESS	2
	ROOT	3, 1
	ret
ATTACK	ERROR, "the hypervisor's part at 0 of the L3 one runs on"
	mov	high, %eax
	ROOT	0, 1
	ret
ATTACK	ERROR, "a fifth entry of the L3 one runs on"
	ADDRESS	2
	ROOT	4, 1
	ret
ATTACK	ERROR, "its last word"
	xor	%eax, %eax
	ROOT	511, 1
	ret
ATTACK	ERROR, "the hypervisor's first entry in the highest L2"
	xor	%eax, %eax
	HIGH	0x1ac, 0
	ret
ATTACK	ERROR, "the hypervisor's last entry, an L1"
	ADDRESS	1
	HIGH	511, RW
	ret
ATTACK	ERROR, "a large page"
	xor	%eax, %eax
	SET	2, 0, 0xe7
	ret
ATTACK	ERROR, "a page as an L1"
	ADDRESS	5
	SET	2, 0, RW
	ret
ATTACK	ERROR, "the L3 as an L1"
	mov	root, %eax
	SET	2, 0, RO
	ret
ATTACK	ERROR, "the highest L2 as a linear table, writable"
	mov	high, %eax
	SET	2, 0, RW
	ret
ATTACK	ERROR, "a linear table, writable"
	ADDRESS	2
	SET	2, 0, RW
	ret
ATTACK	HELD, "a linear table, read-only"
	ADDRESS	2
	SET	2, 1, RO
	push	%eax
	ADDRESS	2
	ROOT	0, 1
	pop	%edx
	or	%edx, %eax
	ret
ATTACK	HELD, "read by it"
	ADDRESS	2
	mov	0x201008, %edx		# as an L1, its entry 1 is the page itself
	and	$0xfffff000, %edx
	sub	%edx, %eax
	ret
ATTACK	FAULT, "write by it"
	ADDRESS	5
	or	$RW, %eax
	mov	%eax, 0x201000
	ret
ATTACK	ERROR, "make it writable"
	ADDRESS	2
	SET	2, 1, RW
	ret
ATTACK	ERROR, "new CR3: a page"
	EXT	MMUEXT_NEW_BASEPTR, 5
	ret
ATTACK	ERROR, "new CR3: an L2"
	EXT	MMUEXT_NEW_BASEPTR, 2
	ret
ATTACK	ERROR, "new CR3: frame 0"
	mov	$MMUEXT_NEW_BASEPTR, %edi
	xor	%esi, %esi
	jmp	ext
ATTACK	ERROR, "new CR3 of the user"
	mov	root, %esi
	shr	$12, %esi
	mov	$MMUEXT_NEW_USER_BASEPTR, %edi
	jmp	ext
ATTACK	HELD, "no linear table"
	xor	%eax, %eax
	ROOT	0, 0
	push	%eax
	UNPIN	2
	pop	%edx
	or	%edx, %eax
	push	%eax
	FREE	2
	pop	%edx
	or	%edx, %eax
	ret

ATTACK	FAULT, "write to the machine-to-physical table"
	movl	$0, M2P
	ret
ATTACK	HELD, "where the machine-to-physical table is"
	movl	$1, request
	movl	$extent, request+4
	HC	HC_MEMORY_OP, $MACHPHYS_MFN_LIST, $request
	ret
ATTACK	ERROR, "map it writable"
	PAGE	6
	mov	extent, %eax
	shl	$12, %eax
	or	$RW, %eax
	jmp	map
ATTACK	ERROR, "map it read-only"
	PAGE	6
	mov	extent, %eax
	shl	$12, %eax
	or	$RO, %eax
	jmp	map
ATTACK	ERROR, "it as an L2"
	mov	extent, %eax
	shl	$12, %eax
	ROOT	0, 1
	ret
ATTACK	ERROR, "note a page number for it"
	mov	extent, %edi
	shl	$12, %edi
	or	$1, %edi		# MMU_MACHPHYS_UPDATE
	xor	%esi, %esi
	jmp	mmu
ATTACK	ERROR, "map a page over it"
	ADDRESS	5
	or	$RW, %eax
	mov	$M2P, %edi
	jmp	map
ATTACK	ERROR, "map a page at the end"
	ADDRESS	5
	or	$RW, %eax
	mov	$0xfffff000, %edi
	jmp	map
# PROBE does an instruction with each 64 KiB from an address on, in EBP; each has to fault.
	.macro	PROBE from, insn:vararg
	mov	$\from, %ebp
	mov	$-((0x100000000-\from)/0x10000), %edi
1:	TRY	\insn
	cmpl	$14, fault_vector
	jne	2f
	inc	%edi
2:	add	$0x10000, %ebp
	jnc	1b
	mov	%edi, %eax
	ret
	.endm
ATTACK	HELD, "read the hypervisor's part behind it"
	PROBE	HOLE, mov (%ebp), %eax
ATTACK	HELD, "write to the hypervisor's part"
	PROBE	M2P, movl $0, (%ebp)
ATTACK	FAULT, "jump into the hypervisor's part"
	mov	$HOLE, %eax
	jmp	*%eax
ATTACK	ERROR, "xen_version writes to the machine-to-physical table"
	HC	HC_XEN_VERSION, $1, $M2P
	ret
ATTACK	ERROR, "xen_version writes across 4 GiB"
	HC	HC_XEN_VERSION, $1, $0xfffffff8
	ret
ATTACK	ERROR, "a multicall in the hypervisor's part"
	HC	HC_MULTICALL, $HOLE, $1
	ret

# push_table faults with its stack in a page table.
push_table:
	TABLE	0
	PIN	1, 0
	HC	HC_STACK_SWITCH, $KERNEL_DS, $(pages+4096)
	mov	$(pages+4096), %esp
	ud2

	.bss
	.balign	4
request: .skip	16
extent:	.skip	4
	.text
