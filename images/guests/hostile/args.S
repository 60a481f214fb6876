# Attacks on arguments: structures of nonsense for each hypercall, registers of the
# x2APIC, string instructions over bad memory.
# References: xen docs public xen.h and the headers of each call; SDM vol. 3, 10.12
# (x2APIC); APM vol. 3 (string instructions).
	.set	HC_XEN_VERSION, 17
	.set	HC_VM_ASSIST, 21
	.set	HC_XSM_OP, 27
	.set	HC_NMI_OP, 28
	.set	HC_PHYSDEV_OP, 33
	.set	HC_SYSCTL, 35
	.set	HC_DOMCTL, 36
	.set	HC_KEXEC_OP, 37
	.set	HC_XENPMU_OP, 40
	.set	HC_PLATFORM_OP, 7
	.set	MSR_APIC_BASE, 0x1b
	.set	RAMEND, 64 << 20	# of the 64 MiB that the test gives
	.set	ARGSIZE, 256

# word: one of words, a small number, or anything, in RAX.
word:	push	%rcx
	call	random
	mov	%rax, %rcx
	shr	$32, %rcx
	and	$127, %ecx
	cmp	$NWORDS, %ecx
	jae	1f
	mov	words(,%rcx,8), %rax
	jmp	3f
1:	cmp	$112, %ecx
	jae	2f
	and	$0x3f, %eax		# a number, an id, an order
	bt	$6, %ecx
	jnc	3f
	mov	%rax, %rdx		# two of them
	shl	$32, %rdx
	or	%rdx, %rax
	jmp	3f
2:	nop				# 64 bits of anything
3:	pop	%rcx
	ret

# fill: ECX words at RDI.
fill:	call	word
	mov	%rax, (%rdi)
	add	$8, %rdi
	dec	%ecx
	jnz	fill
	ret

# Each hypercall that there is, with structures of nonsense. What stops this vcpu
# as it should, or ends the domain, is left out, and so is a multicall of these.
args:	movl	$0, pad			# what the end is called: the first counts
	mov	$5, %edi
	lea	pad, %rsi
	mov	$HC_SCHED_OP, %eax
	call	try
	mov	$40000, %r15d
1:	test	$15, %r15b
	jnz	2f
	mov	$scratch, %edi		# what pointers lead to
	mov	$64, %ecx
	call	fill
2:	mov	$argbuf, %edi
	mov	$(ARGSIZE/8), %ecx
	call	fill
	call	random
	mov	%rax, %rbx
	mov	%eax, %ecx		# number
	and	$31, %ecx
	movzbl	numbers(%rcx), %r14d
	shr	$5, %ebx
	mov	%ebx, %r13d		# command
	and	$63, %r13d
	bt	$13, %ebx		# most have few
	jnc	3f
	and	$15, %r13d
3:	cmp	$HC_SCHED_OP, %r14d
	jne	4f
	cmp	$7, %r13d		# pin_override
	je	4f
	cmp	$4, %r13d		# remote_shutdown
	je	4f
	test	%r13d, %r13d		# yield
	jne	9f
4:	cmp	$HC_VCPU_OP, %r14d
	jne	5f
	cmp	$VCPUOP_DOWN, %r13d
	je	9f
5:	mov	$argbuf, %esi		# where the structure is
	mov	%ebx, %eax
	shr	$14, %eax
	and	$15, %eax
	jnz	6f
	mov	$(RDONLY-8), %esi	# an answer does not fit
	mov	argbuf, %rax
	mov	%rax, (%rsi)
6:	call	word
	mov	%rax, %rdx
	call	word
	mov	%rax, %r10
	call	word
	mov	%rax, %r8
	mov	%r13, %rdi
	mov	%r14d, %eax
	cmp	$HC_VCPU_OP, %eax	# vcpu 0, mostly
	jne	7f
	mov	%rsi, %rdx
	mov	%ebx, %esi
	shr	$18, %esi
	and	$3, %esi
	bt	$20, %ebx
	jc	8f
	xor	%esi, %esi
	jmp	8f
7:	cmp	$HC_MEMORY_OP, %eax
	jne	7f
	bt	$21, %ebx		# as if it went on somewhere
	jnc	8f
	mov	%r8, %rcx
	shl	$6, %rcx
	or	%rcx, %rdi
	jmp	8f
7:	cmp	$HC_GRANT_TABLE_OP, %eax
	jne	7f
	and	$7, %edx
	jmp	8f
7:	cmp	$HC_CONSOLE_IO, %eax
	jne	8f
	mov	%rsi, %rdx
	mov	%ebx, %esi
	and	$0xfff, %esi
8:	call	try
9:	dec	%r15d
	jnz	1b
	# lists of calls, one in the other, and such as wait
	mov	$lists, %edi
	mov	$NLISTS, %esi
	mov	$HC_MULTICALL, %eax
	call	try
	ret

# All MSRs of the x2APIC; then back, by the ways that there are not.
x2apic:	mov	$MSR_APIC_BASE, %ecx
	put	rdmsr
	mov	%eax, %r12d
	mov	%edx, %r13d
	or	$0x400, %eax
	put	wrmsr
	xor	%r15d, %r15d
1:	mov	$0x800, %ebx
2:	mov	%ebx, %ecx
	put	rdmsr
	call	random
	mov	%rax, %rdx
	shr	$32, %rdx
	cmp	$0x830, %ebx		# ICR: an INIT to itself would end it
	jne	3f
	and	$~0x700, %eax
	test	$1, %r15b
	jz	5f
	xor	%edx, %edx		# to itself
	jmp	5f
3:	cmp	$0x840, %ebx
	jae	5f
	test	$3, %r15b		# reserved bits are faults: mostly without
	jz	5f
	xor	%edx, %edx
	test	$1, %r15b
	jz	5f
	and	$0x3f0ff, %eax
5:	mov	%ebx, %ecx
	put	wrmsr
	inc	%ebx
	cmp	$0x900, %ebx
	jb	2b
	inc	%r15d
	cmp	$64, %r15d
	jb	1b
	mov	$bases, %r15d
6:	mov	(%r15), %eax		# base, in each mode, and reserved bits
	mov	4(%r15), %edx
	mov	$MSR_APIC_BASE, %ecx
	put	wrmsr
	mov	$APIC, %ebx
	put	mov (%rbx), %eax
	put	movl $-1, 0x300(%rbx)
	mov	$0x802, %ecx
	put	rdmsr
	add	$8, %r15
	cmp	$bases_end, %r15
	jb	6b
	mov	$0x40000000, %ecx	# the hypercall page, on what is none
	mov	$pages, %r15d
7:	mov	(%r15), %eax
	mov	4(%r15), %edx
	put	wrmsr
	add	$8, %r15
	cmp	$pages_end, %r15
	jb	7b
	mov	$MSR_APIC_BASE, %ecx	# off, and on as it was
	xor	%eax, %eax
	xor	%edx, %edx
	put	wrmsr
	mov	%r12d, %eax
	mov	%r13d, %edx
	put	wrmsr
	ret

# String instructions between ports, registers and memory that is not there.
strings: xor	%r14d, %r14d
1:	xor	%r15d, %r15d
2:	mov	spots2(,%r14,8), %rdi
	mov	spots2(,%r15,8), %rsi
	mov	$0x1000, %ecx
	mov	$0x5555, %edx
	put	rep movsb
	mov	spots2(,%r15,8), %rsi
	mov	$300, %ecx
	put	rep outsb
	mov	spots2(,%r15,8), %rsi
	put	outsl
	mov	spots2(,%r14,8), %rdi
	mov	$300, %ecx
	put	rep insl
	mov	spots2(,%r14,8), %rdi
	mov	$5000, %ecx
	cmp	$scratch, %rdi		# page tables are below
	jne	3f
	mov	$8, %ecx
3:	xor	%eax, %eax
	std
	put	rep stosq
	cld
	mov	spots2(,%r15,8), %rsi
	mov	spots2(,%r14,8), %rdi
	mov	$77, %ecx
	put	repne movsq
	put	lodsw
	inc	%r15d
	cmp	$NSPOTS2, %r15d
	jb	2b
	inc	%r14d
	cmp	$NSPOTS2, %r14d
	jb	1b
	ret

# Instructions that touch registers in memory as none should; the last ones are
# nothing that an emulator has to know.
odd:	mov	$APIC, %ebx
	mov	$NOTRAM, %ebp
	put	cmpxchg8b (%rbx)
	put	lock btsl $3, 0x80(%rbx)
	put	xchg %eax, 0x20(%rbx)
	mov	%rsp, %r12
	put	push 0x20(%rbx)		# it may fault
	mov	%r12, %rsp
	put	incl 0x380(%rbx)
	put	movzwl 0x30(%rbx), %eax
	put	testl $1, 0x300(%rbp)
	mov	%cr0, %rax
	put	movaps %xmm0, (%rbx)
	put	movaps (%rbp), %xmm1
	ret

	.data
	.balign	8
# Numbers, domains, guest frames, addresses.
words:	.quad	0, 1, 2, 3, -1, 0x7ff0, 0x7ff1, 0x7fff, 0x7ff07ff0, 0x100007ff0
	.quad	0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000
	.quad	RAMEND >> 12, (RAMEND >> 12) - 1, 0xfee00, 0xf0000, 0x100000, 0xfffffffff, 0x10000000000000
	.quad	scratch, scratch+1, scratch+4092, RDONLY, RDONLY-4, UNMAPPED, NONCANON, NOTRAM
	.quad	RAMEND, RAMEND-4, APIC, 0xfffffffc, 0xffff830000000000, 0xffff82d080400000
	.set	NWORDS, (. - words) / 8
numbers: .byte	HC_PLATFORM_OP, HC_PLATFORM_OP, HC_SET_TIMER_OP, HC_XEN_VERSION, HC_CONSOLE_IO, HC_VM_ASSIST
	.byte	HC_XSM_OP, HC_NMI_OP, HC_SCHED_OP, HC_PHYSDEV_OP, HC_SYSCTL, HC_DOMCTL, HC_KEXEC_OP, HC_XENPMU_OP
	.byte	HC_MEMORY_OP, HC_MEMORY_OP, HC_MEMORY_OP, HC_MEMORY_OP, HC_GRANT_TABLE_OP, HC_GRANT_TABLE_OP, HC_GRANT_TABLE_OP
	.byte	HC_VCPU_OP, HC_VCPU_OP, HC_VCPU_OP, HC_EVTCHN_OP, HC_EVTCHN_OP, HC_EVTCHN_OP, HC_EVTCHN_OP
	.byte	HC_HVM_OP, HC_HVM_OP, HC_HVM_OP, HC_XEN_VERSION
	.if	. - numbers - 32
	.error	"numbers has to have 32"
	.endif
	.balign	8
# struct multicall_entry: op, result, arguments.
lists:	.quad	HC_MULTICALL, 0, lists, NLISTS, 0, 0, 0, 0
	.quad	-1, 0, -1, -1, -1, -1, -1, -1
	.quad	HC_SCHED_OP, 0, SCHEDOP_POLL, polls, 0, 0, 0, 0
	.quad	HC_MEMORY_OP, 0, 7, UNMAPPED, 0, 0, 0, 0
	.quad	HC_CONSOLE_IO, 0, 0, 0x7fffffff, UNMAPPED, 0, 0, 0
	.quad	HC_GRANT_TABLE_OP, 0, 0, NONCANON, -1, 0, 0, 0
	.set	NLISTS, (. - lists) / 64
bases:	.long	0xfee00c00, 0, 0xfee00800, 0, 0xfee00400, 0, 0, 0, 0xfee00400, 0, 0xfee00800, 0
	.long	0xf0000800, 0, 0x800, 0, 0xfee00800, -1, 0xfee00aff, 0, 0xfee00d00, 0, 0xfee00900, 0, 0, 0
	.long	0xfee00900, 0
bases_end:
pages:	.quad	NOTRAM, APIC, RAMEND, 0xfffffffff000, -4096, 1, NONCANON, 0x100001
pages_end:
# Where strings go.
spots2:	.quad	UNMAPPED-0x100, APIC+0xf00, NOTRAM, RDONLY-0x100, RAMEND-0x100, scratch, NONCANON, -8
	.set	NSPOTS2, (. - spots2) / 8
	.bss
	.balign	16
argbuf:	.skip	ARGSIZE
	.text
