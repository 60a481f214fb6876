# Frames given back, exchanged, granted and mapped, and frames of others.
	.set	DECREASE, 1		# XENMEM_*
	.set	POPULATE, 6
	.set	EXCHANGE, 11

ATTACK	ANY, "decrease_reservation of a pinned table"
	TABLE	10
	PIN	1, 10
	PAGE	10
	jmp	release
ATTACK	HELD, "it still is a table: nothing writes it"
	REMAP	10, RW
	test	%rax, %rax		# refused while it is one
	sets	%al
	movzx	%al, %eax
	xor	$1, %eax
	ret
ATTACK	ANY, "unpin it: the frame goes, if it was given back"
	UNPIN	10
	ret
ATTACK	ANY, "decrease_reservation of the L4"
	mov	start_info, %rdx
	mov	SI_PT_BASE(%rdx), %rdi
	jmp	release
ATTACK	HELD, "the L4 still is what it was"
	mov	start_info, %rdx
	mov	SI_PT_BASE(%rdx), %rdi
	mov	$RW, %esi
	call	remap
	test	%rax, %rax
	sets	%al
	movzx	%al, %eax
	xor	$1, %eax
	ret
ATTACK	ANY, "decrease_reservation of a page that is mapped"
	FREE	11
	PAGE	11
	jmp	release
ATTACK	ANY, "decrease_reservation of it again"
	PAGE	11
	jmp	release
ATTACK	ANY, "pin a page that was given back"
	REMAP	11, RO
	PIN	1, 11
	ret
ATTACK	HELD, "decrease_reservation of frame 0"
	xor	%eax, %eax
	jmp	release_frame
ATTACK	HELD, "decrease_reservation beyond memory"
	mov	$0x000ffffffffff, %rax
	jmp	release_frame
ATTACK	NONE, "decrease_reservation of more than there is room for"
	call	reserve
	movq	$-1, reservation+8
	HC	HC_MEMORY_OP, $DECREASE, $reservation
	ret
ATTACK	NONE, "decrease_reservation of an order beyond all"
	call	reserve
	movl	$60, reservation+16
	HC	HC_MEMORY_OP, $DECREASE, $reservation
	ret
ATTACK	NONE, "decrease_reservation of domain 0"
	call	reserve
	movw	$0, reservation+24
	HC	HC_MEMORY_OP, $DECREASE, $reservation
	ret
ATTACK	NONE, "decrease_reservation with the list in the hypervisor"
	call	reserve
	mov	$0xffff82d080200000, %rax
	mov	%rax, reservation
	HC	HC_MEMORY_OP, $DECREASE, $reservation
	ret
ATTACK	NONE, "populate_physmap of an order beyond all"
	call	reserve
	movl	$40, reservation+16
	HC	HC_MEMORY_OP, $POPULATE, $reservation
	ret
ATTACK	NONE, "populate_physmap with the list read-only, in the M2P"
	call	reserve
	mov	$M2P, %rax
	mov	%rax, reservation
	HC	HC_MEMORY_OP, $POPULATE, $reservation
	ret
ATTACK	ERROR, "exchange with different sums"
	call	exchange
	movq	$2, exchanged+8
	HC	HC_MEMORY_OP, $EXCHANGE, $exchanged
	ret
ATTACK	ERROR, "exchange that is done already, more than there is"
	call	exchange
	movq	$-1, exchanged+64
	HC	HC_MEMORY_OP, $EXCHANGE, $exchanged
	ret
ATTACK	ERROR, "exchange of a pinned table"
	TABLE	12
	PIN	1, 12
	call	exchange
	FRAME	12
	mov	%rax, extents
	HC	HC_MEMORY_OP, $EXCHANGE, $exchanged
	ret
ATTACK	ERROR, "exchange of a frame twice at once"
	UNPIN	12
	FREE	12
	call	exchange
	movq	$2, exchanged+8
	movq	$1, exchanged+32+16
	FRAME	12
	mov	%rax, extents
	mov	%rax, extents+8
	movq	$1, exchanged+32+8
	HC	HC_MEMORY_OP, $EXCHANGE, $exchanged
	ret
ATTACK	ERROR, "exchange whose result is written into the hypervisor"
	call	exchange
	FRAME	13
	mov	%rax, extents
	mov	$0xffff82d080200000, %rax
	mov	%rax, exchanged+32
	HC	HC_MEMORY_OP, $EXCHANGE, $exchanged
	ret
ATTACK	ERROR, "exchange whose result is written into a page table"
	TABLE	14
	PIN	1, 14
	call	exchange
	FRAME	13
	mov	%rax, extents
	movq	$(pages+4096*14), exchanged+32
	HC	HC_MEMORY_OP, $EXCHANGE, $exchanged
	cmpq	$0, pages+4096*14
	je	1f
	xor	%eax, %eax
1:	ret
ATTACK	ERROR, "results of calls into a page table: xen_version"
	HC	HC_XEN_VERSION, $1, $(pages+4096*14)
	ret
ATTACK	HELD, "nothing was written there"
	mov	$512, %ecx
	mov	$(pages+4096*14), %edi
	xor	%eax, %eax
	repe scasq
	setne	%al
	movzx	%al, %r13
	UNPIN	14
	FREE	14
	mov	%r13, %rax
	ret
ATTACK	ERROR, "add_to_physmap"
	movw	$DOMID_SELF, request
	movl	$0, request+4
	movq	$0, request+8
	movq	$8, request+16
	HC	HC_MEMORY_OP, $7, $request
	ret

ATTACK	ERROR, "map the local APIC"
	mov	$(0xfee00000+RW), %esi
	jmp	other
ATTACK	ERROR, "map the local APIC as an I/O page"
	PAGE	15
	mov	$1, %ecx
	call	entry
	mov	%rax, request
	mov	$(0xfee00000+RW+0x10), %eax
	mov	%rax, request+8
	HC	HC_MMU_UPDATE, $request, $1, $0, $0x7ff1
	ret
ATTACK	ANY, "map the shared page"
	mov	start_info, %rax
	mov	SI_SHARED_INFO(%rax), %rsi
	or	$RW, %rsi
	jmp	other
ATTACK	ANY, "decrease_reservation of the shared page"
	mov	start_info, %rax
	mov	SI_SHARED_INFO(%rax), %rax
	shr	$12, %rax
	jmp	release_frame
ATTACK	ERROR, "pin the shared page"
	mov	start_info, %rax
	mov	SI_SHARED_INFO(%rax), %rsi
	shr	$12, %rsi
	xor	%edi, %edi
	jmp	ext
ATTACK	HELD, "the page's own entry again"
	REMAP	15, RW
	ret

other:	PAGE	15
	jmp	va_map
# release gives the page at RDI back, release_frame frame RAX: how many were.
release: call	frame
release_frame:
	call	reserve
	mov	%rax, extents
	HC	HC_MEMORY_OP, $DECREASE, $reservation
	ret
# reserve makes a reservation of one page, of this domain.
reserve: movq	$extents, reservation
	movq	$1, reservation+8
	movq	$0, reservation+16
	movw	$DOMID_SELF, reservation+24
	ret
# exchange makes an exchange of one page for one.
exchange:
	mov	$exchanged, %edi
	mov	$32, %ecx
	xor	%eax, %eax
	rep stosb
	movq	$extents, exchanged
	movq	$1, exchanged+8
	movw	$DOMID_SELF, exchanged+24
	movq	$results, exchanged+32
	movq	$1, exchanged+32+8
	movq	$0, exchanged+32+16
	movw	$DOMID_SELF, exchanged+32+24
	movq	$0, exchanged+64
	movl	$0, exchanged+16
	ret

	.bss
	.balign	8
extents: .skip	8*8
results: .skip	8*8
reservation: .skip 32			# struct xen_memory_reservation
exchanged: .skip 80			# struct xen_memory_exchange
	.text
