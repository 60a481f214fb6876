# Attacks of one vcpu on what is emulated:
#
#   msrs       reads and writes MSRs of all ranges that mean something
#   ports      reads and writes all 65536 ports, the first 4096 in all widths
#   apic       writes all over the local APIC's page, and below and above it
#   memory     touches guest-physical addresses that are nothing

# MSRs: read each, write back what was read, and all ones. EFER stays: without
# long mode nothing here runs on.
msrs:	lea	ranges, %r14
1:	mov	(%r14), %ebx
	mov	4(%r14), %r15d
	test	%r15d, %r15d
	jz	9f
2:	cmp	$0xc0000080, %ebx
	je	5f
	cmp	$0x1b, %ebx		# the APIC's base: only read
	mov	%ebx, %ecx
	movq	$5f, resume
	rdmsr
	je	5f
	movq	$3f, resume
	wrmsr
3:	mov	$-1, %eax
	mov	$-1, %edx
	mov	%ebx, %ecx
	movq	$5f, resume
	wrmsr
5:	inc	%ebx
	dec	%r15d
	jnz	2b
	add	$8, %r14
	jmp	1b
9:	movq	$0, resume
	ret

# Ports. 0x64/0xcf9-like resets and the ACPI block must at most end this guest.
ports:	xor	%ebx, %ebx
1:	mov	%ebx, %edx
	movq	$2f, resume
	in	%dx, %eax
	cmp	$0x1000, %ebx
	jae	2f
	in	%dx, %al
	in	%dx, %ax
2:	cmp	$0xcf9, %ebx
	je	4f
	cmp	$0x64, %ebx
	je	4f
	cmp	$0x92, %ebx
	je	4f
	cmp	$0x600, %ebx		# ACPI's registers: a write of SLP_EN ends the domain
	jb	3f
	cmp	$0x610, %ebx
	jb	4f
3:	movq	$4f, resume
	mov	%ebx, %edx
	mov	$-1, %eax
	out	%eax, %dx
	cmp	$0x1000, %ebx
	jae	4f
	out	%al, %dx
	out	%ax, %dx
4:	inc	%ebx
	test	$0xfff, %ebx
	jnz	5f
	lea	dot, %rdi
	movq	$0, resume
	call	puts
5:	cmp	$65536, %ebx
	jb	1b
	movq	$0, resume
	ret

# The APIC's page: all offsets, all widths, aligned or not; then its neighbours.
apic:	mov	$0xfedff000, %ebx
1:	movq	$2f, resume
	mov	(%rbx), %al
2:	movq	$3f, resume
	mov	(%rbx), %rax
3:	movq	$4f, resume
	movb	$0xff, (%rbx)
4:	movq	$5f, resume
	movl	$-1, (%rbx)
5:	movq	$6f, resume
	movq	$0, (%rbx)
6:	movq	$7f, resume
	lock xaddl %eax, (%rbx)
7:	add	$3, %ebx
	cmp	$0xfee02000, %ebx
	jb	1b
	movq	$0, resume
	ret

# Guest-physical addresses: each 2 MiB step from 1 GiB to 4 GiB.
memory:	mov	$0x40000000, %ebx
1:	movq	$2f, resume
	mov	(%rbx), %rax
2:	movq	$3f, resume
	mov	%rax, (%rbx)
3:	add	$0x200000, %rbx
	bt	$32, %rbx
	jnc	1b
	movq	$0, resume
	ret
