# Calls within calls, contexts of vcpus, areas that the hypervisor writes, grants.
	.set	MC_SIZE, 64		# struct multicall_entry: op, result, six arguments
	.set	MC_RESULT, 8
	.set	MC_ARGS, 16

# CALLS clears the list and makes entry 0 a harmless call.
	.macro	CALLS
	mov	$list, %edi
	xor	%eax, %eax
	mov	$(3*MC_SIZE/8), %ecx
	rep stosq
	movq	$HC_XEN_VERSION, list
	.endm
ATTACK	HELD, "multicall"
	CALLS
	movq	$HC_XEN_VERSION, list+MC_SIZE
	HC	HC_MULTICALL, $list, $2
	ret
ATTACK	ANY, "multicall that overwrites its own next call"
	CALLS
	movq	$HC_XEN_VERSION, list+MC_SIZE
	movq	$1, list+MC_ARGS	# XENVER_extraversion: 16 bytes of text
	movq	$(list+MC_SIZE), list+MC_ARGS+8
	HC	HC_MULTICALL, $list, $2
	mov	list+MC_SIZE+MC_RESULT, %rax
	ret
ATTACK	HELD, "multicall that overwrites its own call"
	CALLS
	movq	$1, list+MC_ARGS
	movq	$list, list+MC_ARGS+8
	HC	HC_MULTICALL, $list, $1
	or	list+MC_RESULT, %rax
	ret
ATTACK	ANY, "multicall in a multicall"
	CALLS
	movq	$HC_MULTICALL, list
	movq	$(list+MC_SIZE), list+MC_ARGS
	movq	$1, list+MC_ARGS+8
	movq	$HC_XEN_VERSION, list+MC_SIZE
	HC	HC_MULTICALL, $list, $1
	mov	list+MC_RESULT, %rax
	ret
ATTACK	ANY, "iret in a multicall"
	CALLS
	movq	$HC_IRET, list
	mov	%rsp, %rbp
	push	$0xe02b			# struct iret_context
	push	%rbp
	push	$2			# events stay masked
	push	$0xe030			# the kernel's
	push	$1f
	push	$0
	push	$0			# RCX, R11, RAX
	push	$0
	push	$77
	mov	$list, %edi
	mov	$1, %esi
	mov	$HC_MULTICALL, %eax
	syscall
	mov	%rbp, %rsp
	mov	list+MC_RESULT, %rax
	ret
1:	cmp	%rbp, %rsp
	jne	2f
	ret
2:	mov	%rbp, %rsp
	mov	$-99, %rax
	ret
ATTACK	ERROR, "no such call in a multicall"
	CALLS
	movq	$1000, list
	HC	HC_MULTICALL, $list, $1
	mov	list+MC_RESULT, %rax
	ret
ATTACK	ERROR, "a number of 64 bits in a multicall"
	CALLS
	mov	$0x100000011, %rax	# xen_version in its lower half
	mov	%rax, list
	HC	HC_MULTICALL, $list, $1
	mov	list+MC_RESULT, %rax
	ret
ATTACK	ERROR, "multicall in the hypervisor"
	HC	HC_MULTICALL, $0xffff82d080200000, $1
	ret
ATTACK	ERROR, "multicall that ends where nothing is mapped"
	HC	HC_MULTICALL, $0x7ffffffff000-32, $-1
	ret
ATTACK	ERROR, "multicall whose results go to the M2P"
	HC	HC_MULTICALL, $M2P, $1
	ret
ATTACK	ANY, "multicall whose results go to a page table"
	TABLE	18
	PIN	1, 18
	HC	HC_MULTICALL, $(pages+4096*18), $1
	ret
ATTACK	HELD, "nothing was written to it"
	HC	HC_SET_TRAP_TABLE, $traps	# the call in it was one that clears them
	mov	pages+4096*18+MC_RESULT, %rax
	ret

	.macro	CONTEXT
	mov	$context, %edi
	xor	%eax, %eax
	mov	$(CTX_SIZE/8), %ecx
	rep stosq
	call	root
	mov	%rax, context+CTX_CR+3*8
	mov	$4, %eax
	mov	%rax, context+CTX_FLAGS
	.endm
ATTACK	ERROR, "vcpu_op initialise: no CR3"
	CONTEXT
	movq	$0, context+CTX_CR+3*8
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: CR3 is an L1"
	CONTEXT
	FRAME	18
	shl	$12, %rax
	mov	%rax, context+CTX_CR+3*8
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: the user's CR3 is an L1"
	CONTEXT
	FRAME	18
	shl	$12, %rax
	mov	%rax, context+CTX_CR+1*8
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: the GDT is an L1"
	CONTEXT
	FRAME	18
	mov	%rax, context+4832
	movq	$512, context+4960
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: a GDT of too many entries"
	CONTEXT
	movq	$8192, context+4960
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: an LDT amid a page"
	CONTEXT
	movq	$(pages+8), context+4816
	movq	$16, context+4824
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: an LDT of too many entries"
	CONTEXT
	movq	$pages, context+4816
	movq	$8193, context+4824
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: event handler not canonical"
	CONTEXT
	mov	$0x8000000000000000, %rax
	mov	%rax, context+5112
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: RIP not canonical"
	CONTEXT
	mov	$0x8000000000000000, %rax
	mov	%rax, context+CTX_REGS+REG_RIP
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: GS base not canonical"
	CONTEXT
	mov	$0x8000000000000000, %rax
	mov	%rax, context+5152
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: this vcpu"
	CONTEXT
	HC	HC_VCPU_OP, $0, $0, $context
	ret
ATTACK	ERROR, "vcpu_op initialise: none such"
	HC	HC_VCPU_OP, $0, $2, $context
	ret
ATTACK	ERROR, "vcpu_op initialise: number -1"
	HC	HC_VCPU_OP, $0, $-1, $context
	ret
ATTACK	ERROR, "vcpu_op up: not initialised"
	HC	HC_VCPU_OP, $1, $1, $0
	ret
ATTACK	HELD, "vcpu_op initialise: all is well"
	CONTEXT
	jmp	initialise
ATTACK	ERROR, "vcpu_op initialise: again"
	CONTEXT
	jmp	initialise
	.macro	INFO name, frame, offset
ATTACK	ERROR, "register_vcpu_info: \name"
	\frame
	mov	%rax, request
	movq	$\offset, request+8
	HC	HC_VCPU_OP, $10, $0, $request
	ret
	.endm
	INFO	"a page table", "FRAME 18", 0
	INFO	"across a page's end", "FRAME 19", 4088
	INFO	"at no multiple", "FRAME 19", 3
	INFO	"frame 0", "xor %eax,%eax", 0
	INFO	"beyond memory", "mov $-1,%rax", 0
ATTACK	ANY, "register_runstate in the hypervisor"
	mov	$0xffff82d080200000, %rax
	mov	%rax, request
	HC	HC_VCPU_OP, $5, $0, $request
	ret
ATTACK	ANY, "register_runstate in a page table"
	movq	$(pages+4096*18), request
	HC	HC_VCPU_OP, $5, $0, $request
	ret
ATTACK	HELD, "nothing is in the table"
	call	yield
	mov	$512, %ecx
	mov	$(pages+4096*18), %edi
	xor	%eax, %eax
	repe scasq
	setne	%al
	movzx	%al, %r13
	movq	$(pages+4096*19), request
	HC	HC_VCPU_OP, $5, $0, $request
	UNPIN	18
	FREE	18
	mov	%r13, %rax
	ret

# Grants to oneself: a frame that is also mapped by one.
	.set	GRANTED, 23		# the page
	.set	MAPPED, 24		# where it is mapped
	.set	REF, 8
ATTACK	HELD, "setup_table"
	movl	$(DOMID_SELF<<16|DOMID_SELF), evt	# alloc_unbound
	movl	$0, evt+4
	HC	HC_EVTCHN_OP, $6, $evt
	movl	$DOMID_SELF, evt	# status: the port is the same field
	HC	HC_EVTCHN_OP, $5, $evt
	mov	evt+16, %ax
	mov	%ax, self
	movl	$DOMID_SELF, request
	movl	$1, request+4
	movq	$grant_frames, request+16
	HC	HC_GRANT_TABLE_OP, $2, $request, $1
	movswq	request+8, %r13
	mov	grant_frames, %rsi
	shl	$12, %rsi
	or	$RW, %rsi
	PAGE	22
	call	va_map
	or	%r13, %rax
	ret
ATTACK	ANY, "map one's own grant"
	FREE	GRANTED
	FRAME	GRANTED
	mov	%eax, pages+4096*22+REF*8+4
	mov	self, %ax
	mov	%ax, pages+4096*22+REF*8+2
	movw	$1, pages+4096*22+REF*8
	mov	$(pages+4096*MAPPED), %edi
	mov	$2, %esi
	call	map_grant
	mov	%rax, own
	ret
ATTACK	ERROR, "pin a page that a grant maps writable"
	mov	own, %rax		# not every hypervisor maps it
	test	%rax, %rax
	jz	1f
	ret
1:	mov	grant_op+20, %eax
	mov	%eax, handle
	REMAP	GRANTED, RO
	PIN	1, GRANTED
	ret
ATTACK	ANY, "unmap it"
	movq	$(pages+4096*MAPPED), unmap_op
	movq	$0, unmap_op+8
	mov	handle, %eax
	mov	%eax, unmap_op+16
	HC	HC_GRANT_TABLE_OP, $1, $unmap_op, $1
	movswq	unmap_op+20, %rax
	ret
ATTACK	HELD, "pin it now"
	PAGE	GRANTED
	call	table
	PIN	1, GRANTED
	ret
ATTACK	ERROR, "map a page table by a grant, writable"
	mov	$(pages+4096*MAPPED), %edi
	mov	$2, %esi
	jmp	map_grant
ATTACK	ERROR, "map a grant into the hypervisor"
	mov	$0xffff82d080200000, %rdi
	mov	$6, %esi
	jmp	map_grant
ATTACK	ERROR, "map a grant by an entry in a page that is no table"
	FRAME	19
	shl	$12, %rax
	mov	%rax, %rdi
	mov	$(2|4|16), %esi
	jmp	map_grant
ATTACK	ERROR, "map a grant by an entry of the L4"
	call	root
	lea	8*300(%rax), %rdi
	mov	$(2|4|16), %esi
	jmp	map_grant
ATTACK	ERROR, "map a grant by an entry in frame 0"
	xor	%edi, %edi
	mov	$(2|4|16), %esi
	jmp	map_grant
ATTACK	ERROR, "map a grant that is far away"
	movl	$0x7fffffff, grant_op+12
	mov	$(pages+4096*MAPPED), %edi
	mov	$2, %esi
	jmp	map_ref
ATTACK	ERROR, "unmap what is not mapped"
	movl	$0x7fffffff, unmap_op+16
	HC	HC_GRANT_TABLE_OP, $1, $unmap_op, $1
	movswq	unmap_op+20, %rax
	ret
ATTACK	ERROR, "copy to a page table"
	FRAME	19
	mov	%rax, copy
	movl	$DOMID_SELF, copy+8
	FRAME	GRANTED
	mov	%rax, copy+16
	movl	$DOMID_SELF, copy+24
	movl	$64, copy+32
	movl	$0, copy+36
	HC	HC_GRANT_TABLE_OP, $5, $copy, $1
	movswq	copy+36, %rax
	ret
ATTACK	ERROR, "copy across a page's end"
	FRAME	19
	mov	%rax, copy+16
	movw	$4090, copy+26
	HC	HC_GRANT_TABLE_OP, $5, $copy, $1
	movswq	copy+36, %rax
	ret
ATTACK	REFUSED, "transfer a page table"
	FRAME	GRANTED
	mov	%rax, request
	movw	$0, request+8
	movl	$0, request+12
	movl	$0, request+16
	HC	HC_GRANT_TABLE_OP, $4, $request, $1
	test	%rax, %rax
	js	1f
	movswq	request+16, %rax
1:	ret
ATTACK	ERROR, "setup_table whose list is in the hypervisor"
	movl	$DOMID_SELF, request
	movl	$1, request+4
	mov	$0xffff82d080200000, %rax
	mov	%rax, request+16
	movw	$0, request+8
	HC	HC_GRANT_TABLE_OP, $2, $request, $1
	test	%rax, %rax
	js	1f
	movswq	request+8, %rax
1:	ret
ATTACK	HELD, "the pages are pages again"
	movw	$0, pages+4096*22+REF*8
	UNPIN	GRANTED
	mov	%rax, %r13
	FREE	GRANTED
	or	%rax, %r13
	REMAP	MAPPED, RW
	or	%r13, %rax
	ret
ATTACK	ERROR, "pin a frame of the grant table"
	mov	grant_frames, %rsi
	xor	%edi, %edi
	jmp	ext
ATTACK	ANY, "decrease_reservation of a frame of the grant table"
	mov	grant_frames, %rax
	jmp	release_frame

initialise:
	HC	HC_VCPU_OP, $0, $1, $context
	ret
# map_grant maps this guest's own grant REF at RDI with flags ESI: its status; map_ref
# another one.
map_grant:
	movl	$REF, grant_op+12
map_ref: mov	%rdi, grant_op
	mov	%esi, grant_op+8
	mov	self, %ax
	mov	%ax, grant_op+16
	movw	$0, grant_op+18
	HC	HC_GRANT_TABLE_OP, $0, $grant_op, $1
	test	%rax, %rax
	js	1f
	movswq	grant_op+18, %rax
1:	ret

	.bss
	.balign	8
list:	.skip	3*MC_SIZE
grant_frames: .skip 8
grant_op: .skip	32			# struct gnttab_map_grant_ref
unmap_op: .skip	24			# struct gnttab_unmap_grant_ref
copy:	.skip	40			# struct gnttab_copy
evt:	.skip	24			# struct evtchn_alloc_unbound, evtchn_status
own:	.skip	8			# what mapping one's own grant came to
self:	.skip	4			# this domain's number
handle:	.skip	4
	.text
