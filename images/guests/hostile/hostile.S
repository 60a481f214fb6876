# A PVH guest that does all the wrong it can. The last word of its command line
# says what; progress goes to the console by the console_io hypercall and to port
# 0xe9, as lines "HOSTILE word ...". It ends with SCHEDOP_shutdown.
#
# Each begins by an exit with EFER.LME set and CR4.PAE clear.
#
#   triple     loads an empty IDT and raises #UD
#   spin       holds its CPU with interrupts off
#   hypercalls calls every number with every pair of bad arguments
#   events     sends and binds event channels without end, for some seconds
# and those of devices.S, wild.S, args.S, smp.S and grants.S.
#
# References: xen docs pvh.pandoc, misc/pvh; public headers
# arch-x86/hvm/start_info.h, arch-x86/cpuid.h, xen.h, sched.h, event_channel.h,
# version.h; APM vol. 2, 8 (exceptions), 14.6 (long mode).
	.set	CMDLINE, 24		# struct hvm_start_info.cmdline_paddr
	.set	HC_CONSOLE_IO, 18
	.set	HC_SCHED_OP_COMPAT, 6
	.set	HC_MEMORY_OP, 12
	.set	HC_MULTICALL, 13
	.set	HC_SET_TIMER_OP, 15
	.set	HC_GRANT_TABLE_OP, 20
	.set	HC_VCPU_OP, 24
	.set	VCPUOP_DOWN, 2
	.set	HC_SCHED_OP, 29
	.set	HC_EVTCHN_OP, 32
	.set	HC_HVM_OP, 34
	.set	SCHEDOP_SHUTDOWN, 2
	.set	SCHEDOP_POLL, 3
	.set	SCHEDOP_WATCHDOG, 6
	.set	NONCANON, 0x8000000000000000
	.set	RDONLY, 0x180000		# mapped read-only, 2 MiB page 0 split
	.set	UNMAPPED, 0x4000000000
	.set	NOTRAM, 0xf0000000		# mapped, no RAM behind it

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
	# LME without PAE, at an exit: QEMU's TCG then lost the host's CR0
	mov	$0xc0000080, %ecx	# EFER
	mov	$0x100, %eax
	xor	%edx, %edx
	wrmsr
	xor	%eax, %eax
	cpuid
	mov	$0xc0000080, %ecx
	rdmsr
	test	$0x100, %eax		# and the guest sees what it wrote
	jnz	1f
	ud2
1:	mov	start_info, %ebx
	# identity map of 4 GiB with 2 MiB pages, the first of them in 4 KiB pages;
	# not the user's, so that SMEP and SMAP may be on
	IDENTITY 3
	movl	$(l1+3), l2
	FILL	l1, 3, 0x1000, 512
	andl	$~2, l1+(RDONLY>>12)*8
	LONG_MODE 0x6a0			# PAE PGE OSFXSR OSXMMEXCPT
	lgdt	gdtr
	ljmp	$8, $start64

	.code64
start64:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	# every exception goes to the handler that skips what raised it
	lea	idt, %rdi
	lea	stubs, %rax
	mov	$32, %ecx
1:	mov	%ax, (%rdi)
	movw	$8, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	mov	%rax, %rdx
	shr	$16, %rdx
	mov	%dx, 6(%rdi)
	add	$16, %rdi
	add	$STUBSIZE, %rax
	loop	1b
	lea	irq, %rax		# interrupts: counted, and over
	mov	$224, %ecx
1:	mov	%ax, (%rdi)
	movw	$8, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	mov	%rax, %rdx
	shr	$16, %rdx
	mov	%dx, 6(%rdi)
	add	$16, %rdi
	loop	1b
	lidt	idtr
	mov	$0x40000000, %esi
	# the hypercall page: the base leaf may be higher, by steps of 0x100
2:	mov	%esi, %eax
	cpuid
	cmp	$0x566e6558, %ebx	# "XenV"
	je	3f
	add	$0x100, %esi
	cmp	$0x40010000, %esi
	jb	2b
	jmp	shutdown
3:	lea	2(%esi), %eax
	cpuid
	mov	%ebx, %ecx
	lea	hypercall_page, %rax
	xor	%edx, %edx
	wrmsr
	lea	hello, %rdi
	call	puts

	mov	start_info, %ebx
	mov	CMDLINE(%rbx), %rbx
	test	%rbx, %rbx
	jz	unknown
	# the last word
	mov	%rbx, %r12
4:	mov	(%rbx), %al
	inc	%rbx
	cmp	$' ', %al
	cmove	%rbx, %r12
	test	%al, %al
	jnz	4b
	lea	table, %r13
5:	mov	(%r13), %rsi
	test	%rsi, %rsi
	jz	unknown
	mov	%r12, %rdi
6:	mov	(%rsi), %al
	cmp	(%rdi), %al
	jne	7f
	inc	%rsi
	inc	%rdi
	test	%al, %al
	jnz	6b
	mov	%r12, %rdi
	call	puts
	lea	begins, %rdi
	call	puts
	push	%r12
	call	*8(%r13)		# it may use all registers
	lea	hello, %rdi
	call	puts
	pop	%rdi
	call	puts
	lea	survived, %rdi
	call	puts
	jmp	shutdown
7:	add	$16, %r13
	jmp	5b
unknown:
	lea	what, %rdi
	call	puts
shutdown:
	movl	$0, pad
	mov	$SCHEDOP_SHUTDOWN, %edi
	lea	pad, %rsi
	mov	$HC_SCHED_OP, %eax
	call	hcall
1:	hlt
	jmp	1b

# hcall: hypercall EAX with RDI, RSI, RDX, R10, R8.
hcall:	shl	$5, %eax
	add	$hypercall_page, %rax
	jmp	*%rax

# puts: the text at RDI, to port 0xe9 and the domain's console.
puts:	push	%rsi
	push	%rdx
	mov	%rdi, %rdx
	xor	%esi, %esi
1:	mov	(%rdx,%rsi), %al
	test	%al, %al
	jz	2f
	out	%al, $0xe9
	inc	%esi
	jmp	1b
2:	xor	%edi, %edi		# CONSOLEIO_write
	mov	$HC_CONSOLE_IO, %eax
	call	hcall
	pop	%rdx
	pop	%rsi
	ret

# Exceptions. RESUME, if not 0, is where to go on; else the guest spins. Each stub
# pushes an error code where the CPU pushes none.
	.balign	16
	.set	STUBSIZE, 16
stubs:	.set	i, 0
	.rept	32
	.balign	16
	.if	i != 8 && (i < 10 || i > 14) && i != 17 && i != 21 && i != 29 && i != 30
	push	$0
	.endif
	jmp	fault
	.set	i, i+1
	.endr
	.balign 16
fault:	add	$8, %rsp		# the error code
	incl	faults
	push	%rax
	mov	resume, %rax
	test	%rax, %rax
	jz	1f
	mov	%rax, 8(%rsp)		# RIP
	pop	%rax
	iretq
1:	lea	unexpected, %rdi	# and no end: that is not what the test waits for
	call	puts
	jmp	spin

irq:	incl	irqs
	push	%rax
	mov	$0xfee000b0, %eax	# EOI
	movl	$0, (%rax)
	pop	%rax
	iretq

triple:	lidt	noidt
	ud2

spin:	cli
1:	jmp	1b

# Every hypercall number from 0 to 95 and some large ones; the first argument is
# each command from 0 to 63 and each bad pointer, the others are bad pointers.
# What stops this vcpu as it should is left out (sched_op's block, shutdown and
# poll, vcpu_op's down), and so is what is only long: a multicall, a
# grant_table_op or a console_io over gigabytes of this guest's own memory.
hypercalls:
	movl	$0, pad			# SCHEDOP_shutdown_code, of which the first counts
	mov	$5, %edi
	lea	pad, %rsi
	mov	$HC_SCHED_OP, %eax
	call	try
	xor	%r14d, %r14d		# number
1:	xor	%r15d, %r15d		# first argument's index
2:	xor	%ebx, %ebx		# the others'
3:	mov	%r15, %rdi
	cmp	$64, %r15
	jb	4f
	mov	values-64*8(,%r15,8), %rdi
4:	lea	-1(%r15), %eax
	cmp	$HC_SCHED_OP, %r14d	# 1 to 3
	jne	5f
	cmp	$3, %eax
	jb	7f
5:	cmp	$HC_SCHED_OP_COMPAT, %r14d	# 1 and 2
	jne	5f
	cmp	$2, %eax
	jb	7f
5:	cmp	$HC_VCPU_OP, %r14d
	jne	5f
	cmp	$VCPUOP_DOWN, %r15d
	je	7f
5:	mov	values(,%rbx,8), %rsi
	mov	%rsi, %rdx
	mov	%rsi, %r10
	mov	%rsi, %r8
	mov	%rsi, %r9
	cmp	$HC_CONSOLE_IO, %r14d
	jne	5f
	and	$0xfff, %esi
5:	cmp	$HC_GRANT_TABLE_OP, %r14d	# entries of results, all over memory
	jne	5f
	and	$7, %edx
5:	cmp	$HC_MULTICALL, %r14d
	jne	5f
	mov	%rdx, %rdi
	mov	%r15d, %esi
	and	$3, %esi
5:	mov	%r14d, %eax
	cmp	$128, %r14d		# beyond the page: VMMCALL by hand
	jb	8f
	mov	bignumbers-128*4(,%r14,4), %eax
8:	call	try
7:	inc	%ebx
	cmp	$NVALUES, %ebx
	jb	3b
	inc	%r15
	cmp	$(64+NVALUES), %r15
	jb	2b
	test	$7, %r14b
	jnz	8f
	lea	dot, %rdi
	call	puts
8:	inc	%r14d
	cmp	$96, %r14d
	jb	1b
	cmp	$128, %r14d
	jae	9f
	mov	$128, %r14d
9:	cmp	$(128+NBIG), %r14d
	jb	1b
	# what was left out above, where it comes to an end
	lea	polls, %r15
1:	mov	$SCHEDOP_POLL, %edi
	mov	%r15, %rsi
	mov	$HC_SCHED_OP, %eax
	call	try
	add	$24, %r15
	cmp	$polls_end, %r15
	jb	1b
	mov	$SCHEDOP_SHUTDOWN, %edi
	mov	$UNMAPPED, %rsi
	mov	$HC_SCHED_OP, %eax
	call	try
	mov	$0x2000000, %edi	# zeros: 4096 times number 0
	mov	$4096, %esi
	mov	$HC_MULTICALL, %eax
	call	try
	mov	$UNMAPPED, %rdi
	mov	$-1, %esi
	mov	$HC_MULTICALL, %eax
	call	try
	xor	%edi, %edi
	mov	$UNMAPPED, %rsi
	mov	$-1, %edx
	mov	$HC_GRANT_TABLE_OP, %eax
	call	try
	xor	%edi, %edi
	mov	$0x7fffffff, %esi
	mov	$UNMAPPED, %rdx
	mov	$HC_CONSOLE_IO, %eax
	call	try
	ret

# try: hypercall EAX by hand; an exception ends it like a return.
try:	mov	%rsp, saved_rsp
	movq	$1f, resume
	vmmcall
1:	mov	saved_rsp, %rsp
	movq	$0, resume
	ret

# Bind, send, unmask and close ports as fast as it goes.
events:	mov	$20000, %r14d
1:	movl	$0x7ff07ff0, evtbuf	# alloc_unbound: DOMID_SELF, DOMID_SELF
	movl	$0, evtbuf+4
	mov	$6, %edi
	call	evtop
	mov	evtbuf+4, %eax
	mov	%eax, port
	mov	%r14d, %eax		# send to a port from 0 on, existing or not
	and	$0x1fff, %eax
	mov	%eax, evtbuf
	mov	$4, %edi
	call	evtop
	mov	port, %eax
	mov	%eax, evtbuf
	mov	$4, %edi
	call	evtop
	movl	$-1, evtbuf
	mov	$9, %edi		# unmask
	call	evtop
	dec	%r14d
	jnz	1b
	ret
evtop:	lea	evtbuf, %rsi
	mov	$HC_EVTCHN_OP, %eax
	jmp	hcall

	.include "images/guests/hostile/devices.S"
	.include "images/guests/hostile/wild.S"
	.include "images/guests/hostile/args.S"
	.include "images/guests/hostile/smp.S"
	.include "images/guests/hostile/grants.S"

	.data
	.balign	8
table:	.quad	w1, triple, w2, spin, w3, hypercalls, w4, events
	.quad	w5, msrs, w6, ports, w7, apic, w8, memory
	.quad	w9, exec, w10, walk, w11, regs, w12, shrink
	.quad	w13, physmap, w14, areas, w15, watchdog, w16, hlt
	.quad	w17, timer, w18, conflood, w19, storeflood, w20, spin4
	.quad	w21, storm, w22, args, w23, x2apic, w24, strings, w25, odd, w26, breaks, w27, grants
	.quad	0
w1:	.asciz	"triple"
w2:	.asciz	"spin"
w3:	.asciz	"hypercalls"
w4:	.asciz	"events"
w5:	.asciz	"msrs"
w6:	.asciz	"ports"
w7:	.asciz	"apic"
w8:	.asciz	"memory"
w9:	.asciz	"exec"
w10:	.asciz	"walk"
w11:	.asciz	"regs"
w12:	.asciz	"shrink"
w13:	.asciz	"physmap"
w14:	.asciz	"areas"
w15:	.asciz	"watchdog"
w16:	.asciz	"hlt"
w17:	.asciz	"timer"
w18:	.asciz	"conflood"
w19:	.asciz	"storeflood"
w20:	.asciz	"spin4"
w21:	.asciz	"storm"
w22:	.asciz	"args"
w23:	.asciz	"x2apic"
w24:	.asciz	"strings"
w25:	.asciz	"odd"
w26:	.asciz	"breaks"
w27:	.asciz	"grants"
hello:	.asciz	"HOSTILE "
begins:	.asciz	" begins\n"
survived: .asciz " survived\n"
unexpected: .asciz "HOSTILE unexpected exception\n"
what:	.asciz	"unknown word\n"
dot:	.asciz	"."
	.balign	8
# NULL, all ones, non-canonical, unmapped, read-only, no RAM, across the end of
# what is mapped, across a page into a read-only one, a good page, odd, huge, where
# the hypervisor is in another address space, the end of RAM and across it, APIC.
values:	.quad	0, -1, NONCANON, UNMAPPED, RDONLY, NOTRAM, 0xfffffffc, RDONLY-4, scratch, scratch+1, 0x7fffffffffffffff
	.quad	0xffff830000000000, 0xffff82d080400000, RAMEND, RAMEND-4, APIC
	.set	NVALUES, (. - values) / 8
	# struct sched_poll: no port and a time that is over; too many; bad ports
polls:	.quad	0, 0, 1
	.quad	scratch, 129, 1
	.quad	badports, 4, 1
	.quad	UNMAPPED, 128, 1
	.quad	NONCANON, -1, 1
polls_end:
badports: .long	0, -1, 0x20000, 4095
bignumbers: .long 96, 127, 128, 255, 256, 65535, 0x7fffffff, 0x80000000, 0xffffffff
	.set	NBIG, (. - bignumbers) / 4
ranges:	.long	0, 0x1000		# architectural
	.long	0x40000000, 0x300	# hypervisors'
	.long	0xc0000000, 0x1000	# AMD's
	.long	0xc0010000, 0x2000
	.long	0x4b564d00, 16		# KVM's
	.long	0, 0
	.balign	8
gdt:	.quad	0, 0x00209a0000000000, 0x00cf92000000ffff
gdtr:	.word	23
	.quad	gdt
idtr:	.word	256*16-1
	.quad	idt
noidt:	.word	0
	.quad	0

	.bss
	.balign	4096
l4:	.skip	4096
l3:	.skip	4096
l2:	.skip	4*4096
l1:	.skip	4096
hypercall_page: .skip 4096
idt:	.skip	4096
scratch: .skip	8192
stack:	.skip	8192
stack_end:
start_info: .skip 8
resume:	.skip	8
saved_rsp: .skip 8
faults:	.skip	8
irqs:	.skip	8
pad:	.skip	8
evtbuf:	.skip	64
memargs:	.skip	64
seed:	.skip	8
gfns:	.skip	16384*8
port:	.skip	8
