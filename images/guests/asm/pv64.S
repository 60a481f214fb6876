# What 64-bit PV guests without an operating system begin with: the ELF notes, from the
# entry to main with a stack, exceptions that go to fault, the PV console, and this
# guest's page tables at hand. Virtual addresses are pseudo-physical ones (VIRT_BASE 0).
#
# References: public headers elfnote.h, xen.h (struct start_info, start of day memory
# layout), arch-x86/xen.h, arch-x86/xen-x86_64.h, sched.h, io/console.h.
	.set	HC_SET_TRAP_TABLE, 0
	.set	HC_MMU_UPDATE, 1
	.set	HC_SET_GDT, 2
	.set	HC_STACK_SWITCH, 3
	.set	HC_FPU_TASKSWITCH, 5
	.set	HC_SET_DEBUGREG, 8
	.set	HC_GET_DEBUGREG, 9
	.set	HC_UPDATE_DESCRIPTOR, 10
	.set	HC_MEMORY_OP, 12
	.set	HC_MULTICALL, 13
	.set	HC_UPDATE_VA_MAPPING, 14
	.set	HC_XEN_VERSION, 17
	.set	HC_CONSOLE_IO, 18
	.set	HC_GRANT_TABLE_OP, 20
	.set	HC_VM_ASSIST, 21
	.set	HC_VA_MAPPING_OTHER, 22
	.set	HC_IRET, 23
	.set	HC_VCPU_OP, 24
	.set	HC_SET_SEGMENT_BASE, 25
	.set	HC_MMUEXT_OP, 26
	.set	HC_SCHED_OP, 29
	.set	HC_CALLBACK_OP, 30
	.set	HC_EVTCHN_OP, 32
	.set	HC_PHYSDEV_OP, 33
	.set	SCHEDOP_YIELD, 0
	.set	SCHEDOP_SHUTDOWN, 2
	.set	EVTCHNOP_SEND, 4
	.set	UVMF_INVLPG, 6			# on all CPUs
	.set	DOMID_SELF, 0x7ff0
	.set	M2P, 0xffff800000000000
	.set	SI_NR_PAGES, 32			# struct start_info
	.set	SI_SHARED_INFO, 40
	.set	SI_CONSOLE_MFN, 72
	.set	SI_CONSOLE_EVTCHN, 80
	.set	SI_PT_BASE, 88
	.set	SI_MFN_LIST, 104
	.set	SI_CMDLINE, 128
	.set	OUT, 1024			# struct xencons_interface.out
	.set	OUT_CONS, 3080
	.set	OUT_PROD, 3084
	.set	RO, 0x25			# a page's flags: present, user, accessed
	.set	RW, 0x67			# and writable, dirty
	.set	PRIVATE_CS, 0xe033		# FLAT_RING3_CS64

	.macro	NOTE type, text
	.long	4, 8f-7f, \type
	.asciz	"Xen"
7:	.asciz	"\text"
8:	.balign	4
	.endm
	.macro	NOTEQ type, value
	.long	4, 8, \type
	.asciz	"Xen"
	.quad	\value
	.endm

	.section .note, "a", @note
	NOTE	6, "nidus-test"		# GUEST_OS
	NOTE	5, "xen-3.0"		# XEN_VERSION
	NOTE	8, "generic"		# LOADER
	NOTE	9, "yes"		# PAE_MODE
	NOTEQ	1, start		# ENTRY
	NOTEQ	2, hypercall_page	# HYPERCALL_PAGE
	NOTEQ	3, 0			# VIRT_BASE
	NOTEQ	4, 0			# PADDR_OFFSET

# HC is a hypercall with its arguments, which are no registers that earlier ones set.
	.macro	HC number, a1=, a2=, a3=, a4=, a5=
	.ifnb	\a1
	mov	\a1, %rdi
	.endif
	.ifnb	\a2
	mov	\a2, %rsi
	.endif
	.ifnb	\a3
	mov	\a3, %rdx
	.endif
	.ifnb	\a4
	mov	\a4, %r10
	.endif
	.ifnb	\a5
	mov	\a5, %r8
	.endif
	mov	$\number, %eax
	call	hcall
	.endm

# TRY does an instruction that may fault and doesn't move the stack: the fault's vector is
# in fault_vector, else -1. All registers but RSP may be lost.
	.macro	TRY insn:vararg
	push	saved_rsp
	push	resume
	movq	$-1, fault_vector
	mov	%rsp, saved_rsp
	movq	$9f, resume
	\insn
9:	mov	saved_rsp, %rsp
	pop	resume
	pop	saved_rsp
	.endm

	.text
	.code64
	.globl	start
start:	cld
	mov	%rsi, start_info
	mov	$stack_end, %esp
	mov	SI_MFN_LIST(%rsi), %rax
	mov	%rax, mfn_list
	HC	HC_SET_TRAP_TABLE, $traps
	mov	start_info, %rsi
	mov	SI_CONSOLE_EVTCHN(%rsi), %eax
	mov	%eax, console_port
	mov	SI_CONSOLE_MFN(%rsi), %rdi
	call	virt
	mov	%rax, console
	jmp	main

hcall:	shl	$5, %eax
	add	$hypercall_page, %rax
	jmp	*%rax

# virt is where frame RDI is in the initial mapping.
virt:	mov	$M2P, %rax
	mov	(%rax,%rdi,8), %rax
	shl	$12, %rax
	ret
# frame is the frame of the page at RDI.
frame:	mov	%rdi, %rax
	shr	$12, %rax
	push	%rdx
	mov	mfn_list, %rdx
	mov	(%rdx,%rax,8), %rax
	pop	%rdx
	ret
# entry finds the entry of level ECX for address RDI: its machine address in RAX, where
# it is mapped in RDX.
entry:	mov	start_info, %rax
	mov	SI_PT_BASE(%rax), %rdx
	push	%rcx
	push	%rbx
	push	%rdi
	mov	%ecx, %ebx
	mov	$39, %ecx
	mov	%rdi, %rsi
1:	mov	%rsi, %rax
	shr	%cl, %rax
	and	$511, %eax
	lea	(%rdx,%rax,8), %rdx
	imul	$9, %ebx, %eax
	add	$3, %eax		# 12, 21, 30, 39
	cmp	%eax, %ecx
	je	2f
	mov	(%rdx), %rdi
	shl	$12, %rdi		# without NX and what is free
	shr	$24, %rdi
	call	virt
	mov	%rax, %rdx
	sub	$9, %ecx
	jmp	1b
2:	mov	%rdx, %rdi
	call	frame
	shl	$12, %rax
	and	$0xfff, %edi
	add	%rdi, %rax
	pop	%rdi
	pop	%rbx
	pop	%rcx
	ret
# remap maps the page at RDI with flags RSI.
remap:	call	frame
	shl	$12, %rax
	or	%rax, %rsi
# va_map maps RDI by the entry RSI.
va_map:	HC	HC_UPDATE_VA_MAPPING, , , $UVMF_INVLPG
	ret
# mmu makes one mmu_update: RDI, RSI.
mmu:	mov	%rdi, request
	mov	%rsi, request+8
	HC	HC_MMU_UPDATE, $request, $1, $done_count, $DOMID_SELF
	ret
# ext makes one mmuext_op: command EDI, RSI, RDX.
ext:	mov	%rdi, request
	mov	%rsi, request+8
	mov	%rdx, request+16
	HC	HC_MMUEXT_OP, $request, $1, $done_count, $DOMID_SELF
	ret
yield:	HC	HC_SCHED_OP, $SCHEDOP_YIELD, $0
	ret

# Exceptions: the frame is RCX, R11, perhaps an error code, RIP, CS, RFLAGS, RSP, SS.
	.balign	16
stubs:	.set	i, 0
	.rept	32
	.balign	16
	push	$i
	jmp	fault
	.set	i, i+1
	.endr
	.balign 16
fault:	pop	fault_vector
	pop	%rcx
	pop	%r11
	movq	$0, fault_error
	mov	$0x20227d00, %ecx	# those with an error code: 8, 10-14, 17, 21, 29
	mov	fault_vector, %eax
	bt	%eax, %ecx
	jnc	1f
	pop	fault_error
1:	pop	fault_rip
	mov	resume, %rcx
	jrcxz	2f
	jmp	*%rcx
2:	mov	$stack_end, %esp
	mov	$unexpected, %esi
	call	puts
	mov	fault_vector, %rax
	call	puthex
	mov	fault_error, %rax
	call	puthex
	mov	fault_rip, %rax
	call	puthex
	mov	$newline, %esi
	call	puts
# crash ends the guest as one that failed, exit as one that is done.
crash:	movl	$3, reason		# SHUTDOWN_crash
exit:	mov	console, %rbx		# once its console has been read
	mov	OUT_CONS(%rbx), %eax
	cmp	OUT_PROD(%rbx), %eax
	je	1f
	call	yield
	jmp	exit
1:	HC	HC_SCHED_OP, $SCHEDOP_SHUTDOWN, $reason
	jmp	1b

# puthex prints RAX and a space.
puthex:	mov	$16, %ecx
	lea	digits, %rsi
1:	rol	$4, %rax
	mov	%eax, %edx
	and	$15, %edx
	mov	hexdigits(%rdx), %dl
	mov	%dl, (%rsi)
	inc	%rsi
	loop	1b
	movw	$' ', (%rsi)
	lea	digits, %rsi
	jmp	puts
# putd prints RAX, which may be negative.
putn:
putd:	mov	%rax, %r8
	test	%rax, %rax
	jns	1f
	neg	%rax
1:	lea	digits_end, %rsi
	movb	$0, (%rsi)
	mov	$10, %ecx
2:	xor	%edx, %edx
	div	%rcx
	add	$'0', %dl
	dec	%rsi
	mov	%dl, (%rsi)
	test	%rax, %rax
	jnz	2b
	test	%r8, %r8
	jns	puts
	dec	%rsi
	movb	$'-', (%rsi)
# puts prints the text at RSI on the PV console, waiting for room.
puts:	mov	%rsi, %r8
	mov	console, %rbx
1:	mov	(%r8), %cl
	test	%cl, %cl
	jz	kick
2:	mov	OUT_PROD(%rbx), %eax
	mov	%eax, %edx
	sub	OUT_CONS(%rbx), %edx
	cmp	$2048, %edx
	jae	4f
	and	$2047, %eax
	mov	%cl, OUT(%rbx,%rax)
	incl	OUT_PROD(%rbx)
	inc	%r8
	jmp	1b
4:	push	%r8
	call	kick
	call	yield
	pop	%r8
	mov	(%r8), %cl
	jmp	2b
kick:	HC	HC_EVTCHN_OP, $EVTCHNOP_SEND, $console_port
	ret

	.data
unexpected: .asciz "PV unexpected exception: vector, error, rip "
newline: .asciz	"\r\n"
hexdigits: .ascii "0123456789abcdef"
	.balign	16
	# struct trap_info: all exceptions are the kernel's, with events masked
traps:	.set	i, 0
	.rept	32
	.byte	i, 4
	.short	PRIVATE_CS
	.long	0
	.quad	stubs+16*i
	.set	i, i+1
	.endr
	.quad	0, 0

	.bss
	.balign	4096
hypercall_page: .skip 4096
stack:	.skip	16384
stack_end:
start_info: .skip 8
mfn_list: .skip	8
console: .skip	8
resume:	.skip	8
saved_rsp: .skip 8
fault_vector: .skip 8
fault_error: .skip 8
fault_rip: .skip 8
request: .skip	24
done_count: .skip 8
reason:	.skip	4
console_port: .skip 4
digits:	.skip	24
digits_end: .skip 8
	.text
