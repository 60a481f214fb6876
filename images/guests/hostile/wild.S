# Attacks of one vcpu: page tables, registers, what is registered where, floods.
# References: xen docs public memory.h, vcpu.h, sched.h, hvm/hvm_op.h, hvm/params.h,
# io/console.h, io/xs_wire.h; APM vol. 2, 3.1 (control registers), 15 (APIC).
	.set	XENMEM_DECREASE, 1
	.set	XENMEM_ADD_TO_PHYSMAP, 7
	.set	REGISTER_RUNSTATE, 5
	.set	REGISTER_INFO, 10
	.set	REGISTER_TIME, 13
	.set	CONSOLE_PFN, 17
	.set	CONSOLE_EVTCHN, 18
	.set	STORE_PFN, 1
	.set	STORE_EVTCHN, 2
	.set	APIC, 0xfee00000

# random: the next of a fixed sequence, in RAX (xorshift64).
random:	mov	seed, %rax
	test	%rax, %rax
	jnz	1f
	mov	$0x9e3779b97f4a7c15, %rax
1:	mov	%rax, %rdx
	shl	$13, %rdx
	xor	%rdx, %rax
	mov	%rax, %rdx
	shr	$7, %rdx
	xor	%rdx, %rax
	mov	%rax, %rdx
	shl	$17, %rdx
	xor	%rdx, %rax
	mov	%rax, seed
	ret

# Run code where nothing is.
exec:	mov	$NOTRAM, %eax
	jmp	*%rax

# A page table where nothing is.
walk:	movabs	$(NOTRAM+7), %rax
	mov	%rax, l4+8
	movabs	$0x8000000000, %rbx
	mov	(%rbx), %rax
	ret

# put: a write that may fault, and goes on behind it.
	.macro	put insn:vararg
	movq	$9900f, resume
	\insn
9900:	movq	$0, resume
	.endm

# Control and debug registers, EFER and XCR0 with all that they don't have. What
# they take, they lose again; paging and long mode can't be switched off here.
regs:	mov	$1000, %r14d
	mov	%cr0, %r12
	mov	%cr4, %r13
	mov	%cr3, %r15
1:	call	random
	mov	%rax, %rbx
	put	mov %rbx, %cr4		# without PAE, half the time
	put	mov %r13, %cr4
	mov	%ebx, %eax		# no reserved bits above; some that exist, and one more
	and	$0x3507ff, %eax
	or	%r13, %rax
	put	mov %rax, %cr4
	mov	%ebx, %ecx
	shr	$20, %ecx
	and	$63, %ecx
	bts	%rcx, %rax
	put	mov %rax, %cr4
	put	mov %r13, %cr4
	put	mov %rbx, %cr0
	put	mov %r12, %cr0
	mov	%rbx, %rax		# NW, CD, TS, EM, WP, ...: valid half the time
	shr	$7, %rax
	mov	%eax, %eax
	or	%r12, %rax
	put	mov %rax, %cr0
	put	mov %r12, %cr0
	put	lmsw %bx
	put	clts
	put	mov %r12, %cr0
	mov	%rbx, %rax		# CR3: this page table, with bits that are reserved
	shl	$52, %rax
	or	%r15, %rax
	put	mov %rax, %cr3
	mov	%r15, %rax
	bts	$51, %rax
	put	mov %rax, %cr3
	put	mov %r15, %cr3
	mov	%rbx, %rax
	mov	%rbx, %rdx
	shr	$32, %rdx
	mov	$0xc0000080, %ecx	# EFER
	put	wrmsr
	mov	%ebx, %eax		# what it has: SCE, LME, LMA, NXE, ..
	and	$0xffff, %eax
	xor	%edx, %edx
	put	wrmsr
	mov	%r13, %rax
	or	$0x40000, %rax		# OSXSAVE
	put	mov %rax, %cr4
	mov	%ebx, %ecx		# XCR 0 to 3
	shr	$9, %ecx
	and	$3, %ecx
	mov	%rbx, %rax
	mov	%rbx, %rdx
	shr	$32, %rdx
	put	xsetbv
	xor	%ecx, %ecx
	xor	%edx, %edx
	and	$0x3ff, %eax
	put	xsetbv
	put	mov %rbx, %cr8
	put	mov %rbx, %cr2
	put	mov %rbx, %dr0
	put	mov %rbx, %dr3
	put	mov %rbx, %dr6
	put	mov %rbx, %dr4		# DR6, or #UD
	mov	%rbx, %rax
	xor	%al, %al
	put	mov %rax, %dr7
	test	$63, %r14b		# each makes the emulator drop all that it translated
	jnz	2f
	mov	%ebx, %eax		# breakpoints that are on
	put	mov %rax, %dr7
2:	put	mov %dr7, %rax
	xor	%eax, %eax
	put	mov %rax, %dr7
	put	mov %rax, %dr7		# GD, which faulted, is off now
	put	mov %rax, %cr8
	put	mov %r13, %cr4
	dec	%r14d
	jnz	1b
	mov	%r12, %cr0
	mov	%r13, %cr4
	ret

# memop: memory_op EDI with memargs.
memop:	lea	memargs, %rsi
	mov	$HC_MEMORY_OP, %eax
	jmp	try

# Give back all memory: first what isn't in use, then the code itself.
shrink:	xor	%ecx, %ecx
	xor	%ebx, %ebx
1:	cmp	$0x200, %ecx
	jb	2f
	cmp	$0x300, %ecx
	jb	3f
2:	mov	%rcx, gfns(,%rbx,8)
	inc	%ebx
3:	inc	%ecx
	cmp	$16384, %ecx
	jb	1b
	lea	gfns, %rax
	mov	%rax, memargs
	mov	%rbx, memargs+8
	movl	$0, memargs+16
	movl	$0, memargs+20
	movl	$0x7ff0, memargs+24
	mov	$XENMEM_DECREASE, %edi
	call	memop			# a second time: all are gone
	mov	$XENMEM_DECREASE, %edi
	call	memop
	movq	$0x200, gfns
	movq	$1, memargs+8
	mov	$XENMEM_DECREASE, %edi
	call	memop
	ret

# Shared pages on top of all that is in use; at last on the page table.
physmap: xor	%r14d, %r14d
1:	xor	%r15d, %r15d
2:	movw	$0x7ff0, memargs
	movw	$-1, memargs+2		# size
	mov	%r14d, memargs+4		# space: 0 shared info, 1 grant table, 2 gmfn, ...
	mov	places(,%r15,8), %rax
	movq	$0, memargs+8
	cmp	$2, %r14d
	jb	3f
	mov	%rax, memargs+8		# moved onto itself
	movw	$3, memargs+2
3:	mov	%rax, memargs+16
	mov	$XENMEM_ADD_TO_PHYSMAP, %edi
	call	memop
	movq	$-1, memargs+8		# an index that is not there
	mov	$XENMEM_ADD_TO_PHYSMAP, %edi
	call	memop
	inc	%r15d
	cmp	$NPLACES, %r15d
	jb	2b
	inc	%r14d
	cmp	$7, %r14d
	jb	1b
	movl	$0, memargs+4
	movq	$0, memargs+8
	mov	$l4, %rax
	shr	$12, %rax
	mov	%rax, memargs+16
	mov	$XENMEM_ADD_TO_PHYSMAP, %edi
	call	memop
	mov	%cr3, %rax
	mov	%rax, %cr3
	ret

# vcpu_info, runstate and time in odd places; then time goes on.
areas:	xor	%r14d, %r14d
1:	mov	spots(,%r14,8), %rax
	mov	%rax, memargs
	shr	$12, %rax
	mov	%rax, memargs+16		# vcpu_register_vcpu_info: mfn, offset
	mov	spots(,%r14,8), %eax
	and	$0xfff, %eax
	mov	%eax, memargs+24
	mov	$REGISTER_RUNSTATE, %edi
	lea	memargs, %rdx
	call	vcpuop
	mov	$REGISTER_TIME, %edi
	lea	memargs, %rdx
	call	vcpuop
	mov	$REGISTER_INFO, %edi
	lea	memargs+16, %rdx
	call	vcpuop
	mov	$100, %r15d
2:	xor	%edi, %edi		# SCHEDOP_yield
	mov	$HC_SCHED_OP, %eax
	call	try
	dec	%r15d
	jnz	2b
	inc	%r14d
	cmp	$NSPOTS, %r14d
	jb	1b
	ret
vcpuop:	xor	%esi, %esi
	mov	$HC_VCPU_OP, %eax
	jmp	try

# A watchdog, and silence.
watchdog: movl	$0, memargs
	movl	$1, memargs+4
	mov	$SCHEDOP_WATCHDOG, %edi
	lea	memargs, %rsi
	mov	$HC_SCHED_OP, %eax
	call	try
	jmp	spin

hlt:	cli
1:	hlt
	jmp	1b

# The APIC's timer as fast as it goes, timers in the past, and IPIs to oneself.
timer:	mov	$APIC, %ebx
	movl	$0x1ff, 0xf0(%rbx)	# on
	movl	$0xb, 0x3e0(%rbx)	# divide by 1
	movl	$0x20040, 0x320(%rbx)	# periodic
	movl	$1, 0x380(%rbx)
	sti
	mov	$5000, %r14d
1:	mov	%r14d, %eax
	and	$0x7f, %eax
	add	$0x40050, %eax		# self, fixed
	mov	%eax, 0x300(%rbx)
	movl	$0x40008, 0x300(%rbx)	# an illegal vector
	mov	$1, %edi
	mov	$HC_SET_TIMER_OP, %eax
	call	try
	dec	%r14d
	jnz	1b
	hlt				# the timer ends it
	cli
	movl	$0x10000, 0x320(%rbx)
	movl	$0, 0x380(%rbx)
	ret

# param: HVM_PARAM EDI in RAX.
param:	movl	$0x7ff0, memargs
	mov	%edi, memargs+4
	mov	$1, %edi		# HVMOP_get_param
	lea	memargs, %rsi
	mov	$HC_HVM_OP, %eax
	call	try
	mov	memargs+8, %rax
	ret
# kick: send port EBP.
kick:	mov	%ebp, evtbuf
	mov	$4, %edi
	jmp	evtop

# The console in all three ways, without waiting for anybody.
conflood: mov	$CONSOLE_EVTCHN, %edi
	call	param
	mov	%eax, %ebp
	mov	$CONSOLE_PFN, %edi
	call	param
	shl	$12, %rax
	mov	%rax, %r13
	mov	$10000, %r14d
1:	mov	%r14d, %eax
	out	%al, $0xe9
	addl	$1024, 3084(%r13)	# out_prod: more than the ring holds, half the time
	call	kick
	test	$15, %r14b
	jnz	2f
	call	random			# indexes that are nonsense
	mov	%eax, 3072(%r13)
	mov	%edx, 3076(%r13)
	mov	%edx, 3080(%r13)
	mov	%eax, 3084(%r13)
	call	kick
2:	xor	%edi, %edi
	mov	$0x400, %esi
	mov	$stubs, %edx
	mov	$HC_CONSOLE_IO, %eax
	call	try
	dec	%r14d
	jnz	1b
	ret

# Requests to the store without end, then garbage.
storeflood: mov	$STORE_EVTCHN, %edi
	call	param
	mov	%eax, %ebp
	mov	$STORE_PFN, %edi
	call	param
	shl	$12, %rax
	mov	%rax, %r13
	mov	$10000, %r14d
	xor	%ebx, %ebx		# req_prod as we count it
1:	mov	2048(%r13), %eax	# room for a request of 32 bytes?
	add	$(1024-32), %eax
	sub	%ebx, %eax
	js	3f
	mov	%ebx, %edi
	and	$1023, %edi
	add	%r13, %rdi
	mov	%r14d, %eax
	and	$31, %eax
	mov	%eax, (%rdi)		# each type of message
	mov	%r14d, 4(%rdi)
	movl	$0, 8(%rdi)
	movl	$16, 12(%rdi)
	movl	$0x652f2e2e, 16(%rdi)	# a path, then a count
	mov	%r14d, 20(%rdi)
	movl	$0x00726f64, 24(%rdi)
	movl	$0x00313233, 28(%rdi)
	add	$32, %ebx
	mov	%ebx, 2052(%r13)
3:	mov	2060(%r13), %eax	# answers are not read
	mov	%eax, 2056(%r13)
	call	kick
	dec	%r14d
	jnz	1b
	mov	$5000, %r14d
2:	call	random
	mov	%eax, %ebx
	and	$0x7f8, %ebx		# both rings
	mov	%rax, (%r13,%rbx)
	test	$15, %r14b
	jnz	4f
	call	random
	mov	%rax, %rbx
	shr	$32, %rbx
	and	$28, %ebx
	mov	%eax, 2048(%r13,%rbx)	# indexes, connection, error
4:	test	$63, %r14b
	jnz	5f
	movl	$1, 2068(%r13)		# reconnect
5:	addl	$100, 2052(%r13)
	call	kick
	dec	%r14d
	jnz	2b
	ret

	.data
	.balign	8
# Guest frames: none, this program's, APIC's, start info's, beyond all.
places:	.quad	0, 1, 0x9f, 0x100, 0x3000, 0xfee00, 0xfeff0, 0x100000, 0xfffffffff, -1, -2, 0x8000000000000
	.set	NPLACES, (. - places) / 8
spots:	.quad	0, scratch+4064, scratch+4095, RDONLY, NOTRAM, 0xfee00000, UNMAPPED, NONCANON, -1
	.quad	hypercall_page+0xf00, scratch+1, 0xfffffff8, 0x3ffffe8, scratch
	.set	NSPOTS, (. - spots) / 8
	.text
