# Two vcpus at once: vcpu 1 maps a page writable and read-only and writes to it all the
# time, vcpu 0 pins it as a page table, looks whether what vcpu 1 wrote is there while it
# is one, and unpins it. What vcpu 1 writes, as an entry, would map the table writable.
	.set	TRIES, 20000
	.set	RACED, 20		# the page
	.set	VCPUOP_INITIALISE, 0
	.set	VCPUOP_UP, 1
	.set	VCPUOP_IS_UP, 3
	.set	VCPUOP_DOWN, 2
	.set	CTX_FLAGS, 512		# struct vcpu_guest_context, x86_64
	.set	CTX_REGS, 520
	.set	CTX_TRAPS, 720
	.set	CTX_KERNEL_SS, 4968
	.set	CTX_CR, 4984
	.set	CTX_SIZE, 5168
	.set	REG_RIP, 128		# struct cpu_user_regs
	.set	REG_CS, 136
	.set	REG_FLAGS, 144
	.set	REG_RSP, 152
	.set	REG_SS, 160

race:	HC	HC_VM_ASSIST, $0, $2		# writable page tables
	call	root
	mov	%rax, context+CTX_CR+3*8
	mov	$4, %eax		# VGCF_in_kernel
	mov	%rax, context+CTX_FLAGS
	movq	$racer, context+CTX_REGS+REG_RIP
	movq	$PRIVATE_CS, context+CTX_REGS+REG_CS
	movq	$0x200, context+CTX_REGS+REG_FLAGS
	movq	$racer_stack, context+CTX_REGS+REG_RSP
	movq	$0xe02b, context+CTX_REGS+REG_SS
	movq	$0xe02b, context+CTX_KERNEL_SS
	movq	$racer_stack, context+CTX_KERNEL_SS+8
	mov	$racer_traps, %esi	# without an end there
	mov	$(context+CTX_TRAPS), %edi
	mov	$64, %ecx
	rep movsq
	TABLE	RACED
	FRAME	RACED
	mov	%rax, raced
	# the entry that vcpu 1 writes maps the page itself, writable
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, evil
	mov	$pages+4096*RACED, %edi
	mov	$1, %ecx
	call	entry
	mov	%rax, raced_entry
	# where vcpu 0 reads it
	PAGE	21
	mov	raced, %rsi
	shl	$12, %rsi
	or	$RO, %rsi
	call	va_map
	HC	HC_VCPU_OP, $VCPUOP_INITIALISE, $1, $context
	mov	%rax, %r13
	HC	HC_VCPU_OP, $VCPUOP_UP, $1, $0
	or	%r13, %rax
	jnz	race_setup
1:	call	yield
	cmpq	$0, racing
	je	1b

	xor	%r12d, %r12d		# pins that succeeded
	xor	%r13d, %r13d		# and those during which a write got through
	mov	$TRIES, %r14d
2:	mov	raced, %rsi
	xor	%edi, %edi
	call	ext
	test	%rax, %rax
	js	4f
	inc	%r12
	mov	$200, %ecx		# its entries stay refused or harmless
3:	mov	pages+4096*21+256, %rax
	and	$3, %eax
	cmp	$3, %eax
	je	5f
	dec	%ecx
	jnz	3b
	jmp	6f
5:	inc	%r13
6:	mov	raced, %rsi
	mov	$4, %edi
	call	ext
4:	dec	%r14d
	jnz	2b
	movq	$1, over
7:	call	yield
	HC	HC_VCPU_OP, $VCPUOP_IS_UP, $1, $0
	test	%rax, %rax
	jnz	7b
	mov	$race_pins, %esi
	call	said
	mov	%r12, %rax
	call	putd
	mov	$newline, %esi
	call	puts
	mov	$race_writes, %esi
	call	said
	mov	written, %rax
	call	putd
	mov	$newline, %esi
	call	puts
	mov	$race_through, %esi
	call	said
	mov	%r13, %rax
	call	putd
	test	%r13, %r13
	jz	8f
	mov	$bad, %esi
	call	puts
8:	mov	$newline, %esi
	call	puts
	mov	%r13, failures
	jmp	last_line
race_setup:
	mov	$race_failed, %esi
	call	said
	call	putd
	mov	$newline, %esi
	call	puts
	incq	failures
	jmp	last_line
said:	push	%rax
	push	%rsi
	mov	$prefix, %esi
	call	puts
	pop	%rsi
	call	puts
	pop	%rax
	ret

# racer is vcpu 1. It uses only what is its own: its faults have their own handler.
racer:	mov	evil, %r14
	mov	raced, %r15
	shl	$12, %r15
	movq	$1, racing
1:	cmpq	$0, over
	jne	2f
	mov	raced_entry, %rax
	mov	%rax, racer_request
	lea	RW(%r15), %rax
	mov	%rax, racer_request+8
	HC	HC_MMU_UPDATE, $racer_request, $1, $0, $DOMID_SELF
	mov	%r14, pages+4096*RACED+256	# emulated, refused, or just written
	incq	written
racer_next:
	movq	$0, pages+4096*RACED+256
racer_clear:
	mov	raced_entry, %rax
	mov	%rax, racer_request
	lea	RO(%r15), %rax
	mov	%rax, racer_request+8
	HC	HC_MMU_UPDATE, $racer_request, $1, $0, $DOMID_SELF
	jmp	1b
2:	HC	HC_VCPU_OP, $VCPUOP_DOWN, $1, $0
	jmp	2b
racer_fault:
	mov	$racer_stack, %esp
	cmpq	$racer_next, racer_at
	mov	$racer_next, %eax
	mov	$racer_clear, %edx
	cmove	%rdx, %rax
	mov	%rax, racer_at
	jmp	*%rax

	.data
	.balign	8
	.globl	racer_traps
racer_traps: .set i, 0
	.rept	32
	.byte	i, 4
	.short	PRIVATE_CS
	.long	0
	.quad	racer_fault
	.set	i, i+1
	.endr
race_pins: .asciz "race: pins: "
race_writes: .asciz "race: writes: "
race_through: .asciz "race: entries written into a table: "
race_failed: .asciz "race: vcpu 1 does not start: "
	.bss
	.balign	4096
context: .skip	CTX_SIZE
	.balign	16
	.skip	4096
racer_stack:
raced:	.skip	8			# the page's frame
raced_entry: .skip 8			# its entry's machine address
evil:	.skip	8
racer_request: .skip 16
racer_at: .skip	8
racing:	.skip	8
over:	.skip	8
written: .skip	8
	.text
