# What 32-bit PV guests without an operating system begin with: the ELF notes, from the
# entry to main with a stack, exceptions that end the guest, the PV console. Memory is
# mapped from BASE on, in the gigabyte that the hypervisor's part is in.
#
# References: public headers elfnote.h, xen.h (struct start_info, start of day memory
# layout), arch-x86/xen.h, arch-x86/xen-x86_32.h, sched.h, io/console.h.
	.set	BASE, 0xc0000000
	.set	HC_SET_TRAP_TABLE, 0
	.set	HC_STACK_SWITCH, 3
	.set	HC_UPDATE_VA_MAPPING, 14
	.set	HC_SET_TIMER_OP, 15
	.set	HC_IRET, 23
	.set	HC_VCPU_OP, 24
	.set	HC_SCHED_OP, 29
	.set	HC_CALLBACK_OP, 30
	.set	HC_EVTCHN_OP, 32
	.set	SCHEDOP_YIELD, 0
	.set	SCHEDOP_BLOCK, 1
	.set	SCHEDOP_SHUTDOWN, 2
	.set	EVTCHNOP_BIND_VIRQ, 1
	.set	EVTCHNOP_SEND, 4
	.set	EVTCHNOP_BIND_IPI, 7
	.set	M2P, 0xf5800000
	.set	SI_SHARED_INFO, 36		# struct start_info
	.set	SI_CONSOLE_MFN, 52
	.set	SI_CONSOLE_EVTCHN, 56
	.set	SI_PT_BASE, 60
	.set	SI_MFN_LIST, 68
	.set	SI_CMDLINE, 80
	.set	OUT, 1024			# struct xencons_interface.out
	.set	OUT_CONS, 3080
	.set	OUT_PROD, 3084
	.set	RW, 0x67			# a page's flags: present, writable, user, A, D
	.set	KERNEL_CS, 0xe019		# FLAT_RING1_CS
	.set	KERNEL_DS, 0xe021

	.macro	NOTE type, text
	.long	4, 8f-7f, \type
	.asciz	"Xen"
7:	.asciz	"\text"
8:	.balign	4
	.endm
	.macro	NOTEL type, value
	.long	4, 4, \type
	.asciz	"Xen"
	.long	\value
	.endm

	.section .note, "a", @note
	NOTE	6, "nidus-test"		# GUEST_OS
	NOTE	5, "xen-3.0"		# XEN_VERSION
	NOTE	8, "generic"		# LOADER
	NOTE	9, "yes"		# PAE_MODE
	NOTEL	1, start		# ENTRY
	NOTEL	2, hypercall_page	# HYPERCALL_PAGE
	NOTEL	3, BASE			# VIRT_BASE
	NOTEL	4, BASE			# PADDR_OFFSET
	NOTEL	12, M2P			# HV_START_LOW

# HC is a hypercall with its arguments, which are no registers that earlier ones set.
	.macro	HC number, a1=, a2=, a3=, a4=
	.ifnb	\a1
	mov	\a1, %ebx
	.endif
	.ifnb	\a2
	mov	\a2, %ecx
	.endif
	.ifnb	\a3
	mov	\a3, %edx
	.endif
	.ifnb	\a4
	mov	\a4, %esi
	.endif
	mov	$\number, %eax
	call	hcall
	.endm

	.text
	.code32
	.globl	start
start:	cld
	mov	%esi, start_info
	mov	$stack_end, %esp
	mov	SI_MFN_LIST(%esi), %eax
	mov	%eax, mfn_list
	HC	HC_SET_TRAP_TABLE, $traps
	mov	start_info, %esi
	mov	SI_CONSOLE_EVTCHN(%esi), %eax
	mov	%eax, console_port
	mov	SI_CONSOLE_MFN(%esi), %eax
	mov	M2P(,%eax,4), %eax
	shl	$12, %eax
	add	$BASE, %eax
	mov	%eax, console
	jmp	main

hcall:	shl	$5, %eax
	add	$hypercall_page, %eax
	jmp	*%eax

# frame is the frame of the page at EAX.
frame:	push	%edx
	sub	$BASE, %eax
	shr	$12, %eax
	mov	mfn_list, %edx
	mov	(%edx,%eax,4), %eax
	pop	%edx
	ret
yield:	HC	HC_SCHED_OP, $SCHEDOP_YIELD, $0
	ret

# Exceptions: the frame is perhaps an error code, EIP, CS, EFLAGS.
	.balign	16
stubs:	.set	i, 0
	.rept	32
	.balign	16
	push	$i
	jmp	fault
	.set	i, i+1
	.endr
	.balign	16
fault:	mov	$KERNEL_DS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	pop	%eax
	mov	%eax, fault_vector
	mov	$0x20227d00, %ecx	# those with an error code: 8, 10-14, 17, 21, 29
	xor	%edx, %edx
	bt	%eax, %ecx
	jnc	1f
	pop	%edx
1:	mov	%edx, fault_error
	pop	fault_eip
	cmpl	$0, resume
	je	2f
	mov	saved_esp, %esp
	jmp	*resume
2:	mov	$stack_end, %esp
	mov	$unexpected, %eax
	call	puts
	mov	fault_vector, %eax
	call	putn
	mov	fault_error, %eax
	call	putn
	mov	fault_eip, %eax
	call	putn
	mov	$newline, %eax
	call	puts
# crash ends the guest as one that failed, exit as one that is done.
crash:	movl	$3, reason		# SHUTDOWN_crash
exit:	mov	console, %ebp		# once its console has been read
	mov	OUT_CONS(%ebp), %eax
	cmp	OUT_PROD(%ebp), %eax
	je	1f
	call	yield
	jmp	exit
1:	HC	HC_SCHED_OP, $SCHEDOP_SHUTDOWN, $reason
	jmp	1b

# putn prints EAX and a space.
putn:	mov	$digits_end, %edi
	movw	$' ', (%edi)
	mov	$10, %ecx
1:	xor	%edx, %edx
	div	%ecx
	add	$'0', %dl
	dec	%edi
	mov	%dl, (%edi)
	test	%eax, %eax
	jnz	1b
	mov	%edi, %eax
# puts prints the text at EAX on the PV console, waiting for room.
puts:	mov	%eax, %edi
	mov	console, %ebp
1:	mov	(%edi), %cl
	test	%cl, %cl
	jz	kick
2:	mov	OUT_PROD(%ebp), %eax
	mov	%eax, %edx
	sub	OUT_CONS(%ebp), %edx
	cmp	$2048, %edx
	jae	4f
	and	$2047, %eax
	mov	%cl, OUT(%ebp,%eax)
	incl	OUT_PROD(%ebp)
	inc	%edi
	jmp	1b
4:	call	kick
	call	yield
	mov	(%edi), %cl
	jmp	2b
kick:	HC	HC_EVTCHN_OP, $EVTCHNOP_SEND, $console_port
	ret

	.data
unexpected: .asciz "PV unexpected exception: vector, error, eip "
newline: .asciz	"\r\n"
	.balign	8
	# struct trap_info: all exceptions are the kernel's, with events masked
traps:	.set	i, 0
	.rept	32
	.byte	i, 4
	.short	KERNEL_CS
	.long	stubs+16*i
	.set	i, i+1
	.endr
	.long	0, 0

	.bss
	.balign	4096
hypercall_page: .skip 4096
stack:	.skip	16384
stack_end:
start_info: .skip 4
mfn_list: .skip	4
console: .skip	4
fault_vector: .skip 4
fault_error: .skip 4
fault_eip: .skip 4
resume:	.skip	4			# where an expected fault goes on, with saved_esp
saved_esp: .skip 4
reason:	.skip	4
console_port: .skip 4
digits:	.skip	12
digits_end: .skip 4
	.text
