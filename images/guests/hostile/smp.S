# Attacks of several vcpus. The others stay in real mode, at RMODE.
# References: APM vol. 2, 16.5 (IPIs), 14.1 (start).
	.set	RMODE, 0x8000
	.set	ICR_OTHERS, 0xc0000

# apcode: ECX bytes at RSI are what the others run.
apcode:	mov	$RMODE, %edi
	rep movsb
	ret
# ipi: EAX to the ICR, for all others.
ipi:	or	$ICR_OTHERS, %eax
	mov	$(APIC+0x300), %edx
	mov	%eax, (%rdx)
	ret

# All vcpus spin with interrupts off.
spin4:	mov	$real_spin, %esi
	mov	$(real_end-real_spin), %ecx
	call	apcode
	mov	$0x4500, %eax		# INIT
	call	ipi
	mov	$(0x4600+(RMODE>>12)), %eax	# SIPI
	call	ipi
	jmp	spin

# INIT, SIPI and NMI to the others without end; what they run halts, spins or is
# garbage.
storm:	mov	$APIC, %ebx
	movl	$0x1ff, 0xf0(%rbx)
	mov	$3000, %r14d
1:	mov	%r14d, %ebx
	and	$1, %ebx
	mov	$real_spin, %esi
	cmovz	%ebx, %esi		# what lies at 0
	mov	$(real_end-real_spin), %ecx
	call	apcode
	mov	$0x4500, %eax
	call	ipi
	mov	%r14d, %eax		# vectors beyond memory, too
	and	$0xff, %eax
	test	$2, %r14b
	jz	2f
	mov	$(RMODE>>12), %eax
2:	or	$0x4600, %eax
	call	ipi
	mov	$0x4400, %eax		# NMI
	call	ipi
	mov	$0x40c0, %eax		# an interrupt
	call	ipi
	dec	%r14d
	jnz	1b
	mov	$0x4500, %eax
	call	ipi
	ret

# All vcpus change what their breakpoints are, without end, and this one 4000 times.
# They are more than there are CPUs, and go from one to another with breakpoints on,
# of which QEMU's TCG keeps lists of each CPU's own.
breaks:	mov	$real_breaks, %esi
	mov	$(breaks_end-real_breaks), %ecx
	call	apcode
	mov	$0x4500, %eax		# INIT
	call	ipi
	mov	$(0x4600+(RMODE>>12)), %eax	# SIPI
	call	ipi
	mov	$4000, %ecx
1:	mov	%ecx, %eax
	shl	$16, %eax		# DR7: what kinds, how long
	or	$0x755, %eax		# all on
	mov	%rax, %dr7
	dec	%ecx
	jnz	1b
	mov	$0x400, %eax
	mov	%rax, %dr7
	ret

	.code16
real_breaks:
	cli
1:	inc	%ecx
	mov	%ecx, %eax
	shl	$16, %eax
	or	$0x755, %eax
	mov	%eax, %dr7
	jmp	1b
breaks_end:
	.code64

real_spin: .byte 0xfa, 0xeb, 0xfe	# cli; jmp .
real_end:
