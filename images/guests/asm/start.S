# What guests without an operating system begin with: from PVH's entry to 64-bit mode
# with 4 GiB mapped one to one, the hypercall page, and the PV console. It ends with
# a jump to main, which has a stack and interrupts off.
#
# References: xen docs misc/pvh; public headers arch-x86/hvm/start_info.h,
# arch-x86/cpuid.h, xen.h, sched.h, event_channel.h, io/console.h, hvm/hvm_op.h,
# hvm/params.h.
	.set	HC_SCHED_OP, 29
	.set	HC_EVTCHN_OP, 32
	.set	HC_HVM_OP, 34
	.set	SCHEDOP_YIELD, 0
	.set	SCHEDOP_SHUTDOWN, 2
	.set	EVTCHNOP_SEND, 4
	.set	HVMOP_SET_PARAM, 0
	.set	HVMOP_GET_PARAM, 1
	.set	PARAM_CONSOLE_PFN, 17
	.set	PARAM_CONSOLE_EVTCHN, 18
	.set	OUT, 1024		# struct xencons_interface.out
	.set	OUT_CONS, 3080
	.set	OUT_PROD, 3084

	.include "images/guests/asm/longmode.S"

	.section .note, "a", @note
	.long	4, 4, 18		# XEN_ELFNOTE_PHYS32_ENTRY
	.asciz	"Xen"
	.long	entry32

	.text
	.code32
	.globl	entry32
entry32:
	cli
	cld
	mov	$stack_end, %esp
	mov	%ebx, start_info
	IDENTITY 7
	LONG_MODE 0x20			# PAE
	lgdt	gdtr
	ljmp	$8, $start64

	.code64
start64:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	# Xen's leaves: the base may be higher, by steps of 0x100
	mov	$0x40000000, %esi
1:	mov	%esi, %eax
	cpuid
	cmp	$0x566e6558, %ebx	# "XenV"
	je	2f
	add	$0x100, %esi
	cmp	$0x40010000, %esi
	jb	1b
	ud2				# a crash says it, for lack of a console
2:	mov	%esi, xen_leaves
	lea	2(%esi), %eax
	cpuid
	mov	%ebx, %ecx
	lea	hypercall_page, %rax
	xor	%edx, %edx
	wrmsr

	mov	$PARAM_CONSOLE_PFN, %eax
	call	param
	shl	$12, %rax
	mov	%rax, console
	mov	$PARAM_CONSOLE_EVTCHN, %eax
	call	param
	mov	%eax, console_port
	jmp	main

# poweroff ends the guest once its console has been read.
poweroff:
	mov	console, %rbx
	mov	OUT_CONS(%rbx), %eax
	cmp	OUT_PROD(%rbx), %eax
	je	1f
	call	yield
	jmp	poweroff
1:	mov	$SCHEDOP_SHUTDOWN, %edi
	lea	zero, %rsi		# SHUTDOWN_poweroff
	mov	$HC_SCHED_OP, %eax
	call	hcall
1:	hlt
	jmp	1b

yield:	mov	$SCHEDOP_YIELD, %edi
	xor	%esi, %esi
	mov	$HC_SCHED_OP, %eax
# hcall: hypercall EAX with RDI, RSI.
hcall:	shl	$5, %eax
	add	$hypercall_page, %rax
	jmp	*%rax

# param reads HVM parameter EAX into RAX.
param:	mov	%eax, hvmparam+4
	mov	$HVMOP_GET_PARAM, %edi
	lea	hvmparam, %rsi
	mov	$HC_HVM_OP, %eax
	call	hcall
	mov	hvmparam+8, %rax
	ret

# putn prints RAX.
putn:	lea	digits_end, %rsi
	mov	$10, %ecx
1:	xor	%edx, %edx
	div	%rcx
	add	$'0', %dl
	dec	%rsi
	mov	%dl, (%rsi)
	test	%rax, %rax
	jnz	1b
# puts prints the text at RSI on the PV console, waiting for room.
puts:	mov	%rsi, %r8
	mov	console, %rbx
1:	mov	(%r8), %cl
	test	%cl, %cl
	jz	3f
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
3:	call	kick
	ret
4:	call	kick
	call	yield
	mov	(%r8), %cl
	jmp	2b
kick:	mov	$EVTCHNOP_SEND, %edi
	lea	console_port, %rsi
	mov	$HC_EVTCHN_OP, %eax
	jmp	hcall

	.data
	.balign	8
hvmparam: .short 0x7ff0, 0		# struct xen_hvm_param: DOMID_SELF
	.long	0
	.quad	0
gdt:	.quad	0, 0x00209a0000000000, 0x00cf92000000ffff
gdtr:	.word	23
	.quad	gdt

	.bss
	.balign	4096
l4:	.skip	4096
l3:	.skip	4096
l2:	.skip	4*4096
hypercall_page: .skip 4096
stack:	.skip	8192
stack_end:
console: .skip	8
start_info: .skip 4			# where struct hvm_start_info is
xen_leaves: .skip 4			# the number of Xen's first CPUID leaf
console_port: .skip 4
zero:	.skip	4
digits:	.skip	24
digits_end: .skip 8
	.text
