# A PVH guest that starts its other vcpus in every way there is, one way after the
# other:
#
#   vcpuop      the last one by VCPUOP_initialise and VCPUOP_up, in 64-bit mode
#   xapic       each by INIT and SIPI through the local APIC's registers
#   x2apic      each by INIT and SIPI through its MSRs
#   broadcast   all at once, by the shorthand for all others
#   initialise  the last one by VCPUOP_initialise again, after INIT
#
# A vcpu that starts by itself by SIPI says so at port 0xe9, by a string instruction
# in real mode; all go on to 64-bit mode, compare their local APIC's number with
# CPUID's, and halt with interrupts off. The MADT tells who there is. Lines on the
# console:
#
#   SIPI vcpus 16
#   SIPI xapic 15
#   ...
#   NIDUS-GUEST-END
#
# each with how many started, or "SIPI FAIL xapic 7": the seventh did not.
#
# References: ACPI 6, 5.2.5.3 (RSDP), 5.2.8 (XSDT), 5.2.12 (MADT); Intel SDM vol. 3,
# 8.4.4.1 (the start), 10.6 and 10.12 (ICR); public headers vcpu.h, hvm/hvm_vcpu.h.
	.set	MAX_CPUS, 16
	.set	RMODE, 0x8000			# where the others start
	.set	APIC, 0xfee00000
	.set	APIC_ID, 0x20
	.set	ICR_LOW, 0x300
	.set	ICR_HIGH, 0x310
	.set	MSR_APIC_BASE, 0x1b
	.set	APIC_X2, 0xc00			# enabled, in x2APIC mode
	.set	MSR_X2_ID, 0x802
	.set	MSR_X2_ICR, 0x830
	.set	ICR_INIT, 0x4500
	.set	ICR_SIPI, 0x4600+(RMODE>>12)
	.set	ICR_OTHERS, 0xc0000		# shorthand: all but oneself
	.set	HC_VCPU_OP, 24
	.set	VCPUOP_INITIALISE, 0
	.set	VCPUOP_UP, 1
	.set	EEXIST, 17
	.set	RSDP, 32			# struct hvm_start_info.rsdp_paddr
	.set	PATIENCE, 5			# 2^32 ticks of the TSC

	.include "images/guests/asm/start.S"

main:	call	madt
	lea	t_vcpus, %rsi
	mov	cpus, %eax
	call	line
	mov	$RMODE, %edi
	lea	real, %rsi
	mov	$(real_end-real), %ecx
	rep movsb

	lea	t_vcpuop, %r15
	mov	cpus, %r14d
	dec	%r14d			# the last one
	call	by_vcpuop

	lea	t_xapic, %r15
	call	each
	call	x2apic
	lea	t_x2apic, %r15
	call	each

	lea	t_broadcast, %r15
	movl	$0, online
	movw	$0, RMODE+real_len-real	# the port has one line for all
	mov	$(ICR_INIT|ICR_OTHERS), %eax
	call	send
	mov	$(ICR_SIPI|ICR_OTHERS), %eax
	call	send
	mov	cpus, %r14d
	dec	%r14d
	mov	%r14d, %edi
	call	await
	mov	%r14d, %eax
	call	report

	lea	t_initialise, %r15
	mov	cpus, %r14d
	dec	%r14d
	mov	apics(,%r14,4), %edx
	mov	$ICR_INIT, %eax
	call	send
	call	by_vcpuop

	cmpl	$0, wrong
	je	1f
	lea	t_wrong, %rsi
	mov	wrong, %eax
	call	line
1:	lea	t_end, %rsi
	call	puts
	jmp	poweroff

# by_vcpuop starts vcpu R14 by the hypercall. INIT is on its way to it perhaps: until
# it has arrived, the vcpu is initialised (EEXIST).
by_vcpuop:
	movl	$0, online
	rdtsc
	lea	PATIENCE(%rdx), %ebp
1:	mov	$VCPUOP_INITIALISE, %edi
	call	vcpuop
	test	%rax, %rax
	jz	2f
	cmp	$-EEXIST, %rax
	jne	failed
	rdtsc
	cmp	%ebp, %edx
	ja	failed
	call	yield
	jmp	1b
2:	mov	$VCPUOP_UP, %edi
	call	vcpuop
	test	%rax, %rax
	jnz	failed
	mov	$1, %edi
	call	await
	mov	$1, %eax
	jmp	report

vcpuop:	mov	%r14, %rsi
	lea	context, %rdx
	mov	$HC_VCPU_OP, %eax
	jmp	hcall

# each starts one vcpu after the other by INIT and SIPI.
each:	movl	$0, online
	mov	$1, %r14d
1:	cmp	cpus, %r14d
	jae	2f
	mov	apics(,%r14,4), %edx
	mov	$ICR_INIT, %eax
	call	send
	mov	$ICR_SIPI, %eax
	call	send
	mov	%r14d, %edi
	call	await
	inc	%r14d
	jmp	1b
2:	lea	-1(%r14), %eax
	jmp	report

# send writes EAX to the ICR, for the local APIC of number EDX.
send:	cmpb	$0, x2
	jne	1f
	mov	%edx, %ecx
	shl	$24, %ecx
	mov	$APIC, %esi
	mov	%ecx, ICR_HIGH(%rsi)
	mov	%eax, ICR_LOW(%rsi)
	ret
1:	mov	$MSR_X2_ICR, %ecx
	wrmsr
	ret

# x2apic changes the mode, of the others when they start.
x2apic:	mov	$MSR_APIC_BASE, %ecx
	rdmsr
	or	$APIC_X2, %eax
	wrmsr
	movb	$1, x2
	ret

# await waits until EDI vcpus have come online.
await:	mov	%edi, %ebx
	rdtsc
	lea	PATIENCE(%rdx), %ebp
1:	cmp	online, %ebx
	je	2f
	rdtsc
	cmp	%ebp, %edx
	ja	failed
	call	yield
	jmp	1b
2:	ret

failed:	lea	t_fail, %rsi
	call	puts
	mov	%r15, %rsi
	mov	%r14d, %eax
	call	line
	jmp	poweroff

# report prints how the round R15 ended: EAX vcpus started.
report:	mov	%rax, %r13
	lea	t_sipi, %rsi
	call	puts
	mov	%r15, %rsi
	mov	%r13, %rax
# line prints the text at RSI, and RAX.
line:	mov	%rax, %r13
	call	puts
	mov	%r13, %rax
	call	putn
	lea	newline, %rsi
	jmp	puts

# madt lists the local APICs' numbers: in apics, of vcpus by order.
madt:	mov	start_info, %eax
	mov	RSDP(%rax), %rbx
	mov	24(%rbx), %rbx		# XSDT
	mov	4(%rbx), %ecx		# its length
	lea	(%rbx,%rcx), %rdi
	add	$36, %rbx
1:	cmp	%rdi, %rbx
	jae	4f
	mov	(%rbx), %rdx
	add	$8, %rbx
	cmpl	$0x43495041, (%rdx)	# "APIC"
	jne	1b
	mov	4(%rdx), %ecx
	lea	(%rdx,%rcx), %rdi
	add	$44, %rdx
	xor	%esi, %esi
2:	cmp	%rdi, %rdx
	jae	4f
	cmpb	$0, (%rdx)		# a processor's local APIC
	jne	3f
	testb	$1, 4(%rdx)		# enabled
	jz	3f
	cmp	$MAX_CPUS, %esi
	jae	4f
	movzbl	3(%rdx), %eax
	mov	%eax, apics(,%rsi,4)
	inc	%esi
	mov	%esi, cpus
3:	movzbl	1(%rdx), %eax
	add	%rax, %rdx
	jmp	2b
4:	ret

# What the others run first, in real mode at RMODE. DS is 0, as SIPI leaves it.
	.code16
real:	cli
	cld
	mov	$(RMODE+real_text-real), %si
	mov	RMODE+real_len-real, %cx
	mov	$0xe9, %dx
	rep outsb
	lgdtl	RMODE+real_gdtr-real
	LONG_MODE 0x20			# PAE
	ljmpl	$8, $other
real_gdtr: .word 23
	.long	gdt
real_len: .word	real_text_end-real_text
real_text: .ascii "SIPI real mode\n"
real_text_end:
real_end:

# other is a vcpu that has come, in 64-bit mode: without a stack, and by VCPUOP
# without a GDT.
	.code64
other:	mov	$1, %eax
	cpuid
	shr	$24, %ebx
	cmpb	$0, x2
	jne	1f
	mov	$APIC, %esi
	mov	APIC_ID(%rsi), %eax
	shr	$24, %eax
	jmp	2f
1:	mov	$MSR_APIC_BASE, %ecx
	rdmsr
	or	$APIC_X2, %eax
	wrmsr
	mov	$MSR_X2_ID, %ecx
	rdmsr
2:	cmp	%eax, %ebx
	je	3f
	lock incl wrong
3:	lock incl online
4:	hlt
	jmp	4b

	.data
	.balign	8
context: .long	1, 0			# struct vcpu_hvm_context: VCPU_HVM_MODE_64B
	.fill	8, 8, 0			# rax to rdi
	.quad	other, 2		# rip, rflags
	.quad	0x80010033, l4, 0x20, 0x500	# cr0, cr3, cr4, efer
t_sipi:	.asciz	"SIPI "
t_vcpus: .asciz	"SIPI vcpus "
t_vcpuop: .asciz "vcpuop "
t_xapic: .asciz	"xapic "
t_x2apic: .asciz "x2apic "
t_broadcast: .asciz "broadcast "
t_initialise: .asciz "initialise "
t_fail:	.asciz	"SIPI FAIL "
t_wrong: .asciz	"SIPI FAIL wrong APIC numbers "
t_end:	.asciz	"NIDUS-GUEST-END\r\n"
newline: .asciz	"\r\n"

	.bss
	.balign	8
apics:	.skip	MAX_CPUS*4
cpus:	.skip	4
online:	.skip	4
wrong:	.skip	4
x2:	.skip	4
