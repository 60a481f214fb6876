# A PV guest that gives frames back and gets others: decrease_reservation,
# populate_physmap and memory_exchange, with what the machine-to-physical table says of
# them. It prints "PV-BALLOON step" for each step and "PV-BALLOON PASS" at the end, or
# "PV-BALLOON FAIL step value".
#
# References: those of asm/pv64.S; memory.h.
	.include "images/guests/asm/pv64.S"
	.set	CURRENT, 3		# XENMEM_*
	.set	DECREASE, 1
	.set	POPULATE, 6
	.set	EXCHANGE, 11
	.set	COUNT, 1024		# pages of `ball`
	.set	BATCH, 64
	.set	ORDER, 9
	.set	ROUNDS, 3

	.macro	STEP name
	.data
7:	.asciz	"\name"
	.text
	movq	$7b, step
	call	begin
	.endm
# FAIL ends the guest if the condition holds; RAX is told.
	.macro	FAIL condition
	j\condition failed
	.endm

main:	call	reserved
	mov	%rax, before
	movl	$ROUNDS, rounds
round:
	STEP	"frames out, decrease_reservation"
	mov	$ball, %ebx
1:	call	unmap			# a batch of frames, in list
	movl	$DECREASE, %edi
	xor	%edx, %edx
	call	reservation_op
	cmp	$BATCH, %rax
	FAIL	ne
	cmp	$ball_end, %ebx
	jb	1b
	call	reserved
	sub	before, %rax
	cmp	$-COUNT, %rax
	FAIL	ne

	STEP	"a frame that is out can't be mapped"
	mov	list, %rsi
	shl	$12, %rsi
	or	$RO, %rsi
	mov	$ball, %edi
	call	va_map
	test	%rax, %rax
	FAIL	ns
	mov	list, %rax
	mov	$M2P, %rdx
	TRY	mov (%rdx,%rax,8), %rax
	cmp	$((ball_end-ball)>>12), %rax	# no page of ours
	FAIL	e

	STEP	"frames in, populate_physmap"
	mov	$ball, %ebx
2:	mov	$list, %edi
	mov	%rbx, %rax
	shr	$12, %rax
	mov	$BATCH, %ecx
3:	stosq				# page numbers
	inc	%rax
	loop	3b
	movl	$POPULATE, %edi
	xor	%edx, %edx
	call	reservation_op
	cmp	$BATCH, %rax
	FAIL	ne
	mov	$1, %r15d
	call	map			# maps and checks them
	cmp	$ball_end, %ebx
	jb	2b
	call	reserved
	sub	before, %rax
	FAIL	nz
	call	verify

	STEP	"no more than the maximum"
	xor	%r14d, %r14d
4:	movq	$(ball_end), %rax
	shr	$12, %rax
	add	%r14, %rax
	mov	%rax, list
	movq	$1, reservation+8
	movl	$POPULATE, %edi
	xor	%edx, %edx
	call	reservation_one
	test	%rax, %rax
	jz	5f
	mov	list, %rax
	mov	%rax, extra(,%r14,8)
	inc	%r14
	mov	%r14, %rax
	cmp	$COUNT, %r14
	FAIL	ae
	jmp	4b
5:	dec	%r14			# and back
	js	6f
	mov	extra(,%r14,8), %rax
	mov	%rax, list
	movl	$DECREASE, %edi
	xor	%edx, %edx
	call	reservation_one
	cmp	$1, %rax
	FAIL	ne
	jmp	5b
6:	call	reserved
	sub	before, %rax
	FAIL	nz

	STEP	"frames for contiguous ones, memory_exchange"
	mov	$(ball), %ebx
	xor	%r14d, %r14d
1:	call	unmap
	mov	$list, %esi
	lea	many(,%r14,8), %rdi
	mov	$BATCH, %ecx
	rep movsq
	add	$BATCH, %r14
	cmp	$(1<<ORDER), %r14
	jb	1b
	mov	$ball, %eax
	shr	$12, %eax
	mov	%rax, list		# becomes the first frame
	mov	$many, %esi
	mov	$(1<<ORDER), %edi
	xor	%eax, %eax
	mov	$ORDER, %edx
	mov	$1, %ecx
	call	exchange
	test	%rax, %rax
	FAIL	nz
	mov	list, %rax
	test	$((1<<ORDER)-1), %eax
	FAIL	nz
	mov	$(1<<ORDER), %ecx
	mov	$many, %edi
2:	stosq				# many: those that are in now
	inc	%rax
	loop	2b
	call	map_many
	call	verify

	STEP	"and back"
	mov	$(ball), %ebx
	mov	$(1<<ORDER)/BATCH, %r14d
3:	call	unmap
	dec	%r14d
	jnz	3b
	mov	many, %rax
	mov	%rax, list
	mov	$many, %edi
	mov	$ball, %eax
	shr	$12, %eax
	mov	$(1<<ORDER), %ecx
4:	stosq
	inc	%rax
	loop	4b
	mov	$list, %esi
	mov	$1, %edi
	mov	$ORDER, %eax
	xor	%edx, %edx
	mov	$(1<<ORDER), %ecx
	call	exchange_to_many
	test	%rax, %rax
	FAIL	nz
	call	map_many
	call	verify
	call	reserved
	sub	before, %rax
	FAIL	nz
	decl	rounds
	jnz	round
	mov	$passed, %esi
	call	puts
	jmp	exit

# begin prints the step.
begin:	mov	$prefix, %esi
	call	puts
	mov	step, %rsi
	call	puts
	mov	$newline, %esi
	jmp	puts
failed:	mov	%rax, %r12
	mov	$fails, %esi
	call	puts
	mov	step, %rsi
	call	puts
	mov	$space, %esi
	call	puts
	mov	%r12, %rax
	call	putd
	mov	$newline, %esi
	call	puts
	jmp	crash

# reserved is how many frames this domain has.
reserved:
	movw	$DOMID_SELF, request
	HC	HC_MEMORY_OP, $CURRENT, $request
	ret
# unmap takes a batch of pages from RBX on out of the address space; list gets their
# frames, RBX is after them.
unmap:	xor	%ebp, %ebp
1:	mov	%rbx, %rdi
	call	frame
	mov	%rax, list(,%rbp,8)
	mov	%rbx, %rdi
	shr	$12, %rdi
	mov	mfn_list, %rdx
	movq	$-1, (%rdx,%rdi,8)
	mov	%rbx, %rdi
	xor	%esi, %esi
	call	va_map
	test	%rax, %rax
	FAIL	nz
	add	$4096, %rbx
	inc	%ebp
	cmp	$BATCH, %ebp
	jb	1b
	ret
# map maps a batch of frames in list from page RBX on, and writes to each page.
map:	xor	%ebp, %ebp
1:	mov	list(,%rbp,8), %rax
	call	map_one
	inc	%ebp
	cmp	$BATCH, %ebp
	jb	1b
	ret
map_many:
	mov	$ball, %ebx
	xor	%ebp, %ebp
1:	mov	many(,%rbp,8), %rax
	call	map_one
	inc	%ebp
	cmp	$(1<<ORDER), %ebp
	jb	1b
	ret
# map_one maps frame RAX at page RBX, of which the M2P has to know, and goes to the next.
map_one:
	mov	%rbx, %rdi
	shr	$12, %rdi
	mov	$M2P, %rdx
	cmp	(%rdx,%rax,8), %rdi
	FAIL	ne
	mov	mfn_list, %rdx
	mov	%rax, (%rdx,%rdi,8)
	shl	$12, %rax
	lea	RW(%rax), %rsi
	mov	%rbx, %rdi
	call	va_map
	test	%rax, %rax
	FAIL	nz
	mov	%rbx, (%rbx)
	mov	%rbx, 4088(%rbx)
	add	$4096, %rbx
	ret
# verify reads what map_one wrote.
verify:	mov	$ball, %eax
1:	cmp	(%rax), %rax
	FAIL	ne
	cmp	4088(%rax), %rax
	FAIL	ne
	add	$4096, %rax
	cmp	$ball_end, %eax
	jb	1b
	ret
# reservation_op does operation EDI with the list of a batch, of order EDX.
reservation_op:
	movq	$BATCH, reservation+8
	jmp	1f
reservation_one:
	movq	$1, reservation+8
1:	movq	$list, reservation
	movl	%edx, reservation+16
	movl	$0, reservation+20
	movw	$DOMID_SELF, reservation+24
	HC	HC_MEMORY_OP, , $reservation
	ret
# exchange gives the EDI extents of order EAX that are in the list RSI for ECX of order
# EDX in `list`; exchange_to_many gets them in `many`.
exchange_to_many:
	movq	$many, exchanged+32
	jmp	1f
exchange:
	movq	$list, exchanged+32
1:	mov	%rsi, exchanged
	mov	%rdi, exchanged+8
	mov	%eax, exchanged+16
	movl	$DOMID_SELF, exchanged+24
	mov	%rcx, exchanged+40
	mov	%edx, exchanged+48
	movl	$DOMID_SELF, exchanged+56
	movq	$0, exchanged+64
	HC	HC_MEMORY_OP, $EXCHANGE, $exchanged
	ret

	.data
prefix:	.asciz	"PV-BALLOON "
fails:	.asciz	"PV-BALLOON FAIL "
passed:	.asciz	"PV-BALLOON PASS\r\n"
space:	.asciz	" "
	.bss
	.balign	4096
ball:	.skip	COUNT*4096
ball_end:
list:	.skip	BATCH*8
many:	.skip	(1<<ORDER)*8
extra:	.skip	COUNT*8
reservation: .skip 32			# struct xen_memory_reservation
exchanged: .skip 80			# struct xen_memory_exchange
step:	.skip	8
before:	.skip	8
rounds:	.skip	4
