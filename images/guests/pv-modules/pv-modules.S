# A PV guest that reads its modules, which it wants at a page number and not mapped
# (XEN_ELFNOTE_MOD_START_PFN), and prints
#
#   PV-MODULES flags f
#   PV-MODULES bytes sum command line		for each module of a package
#   PV-MODULES END
#
# where the flags are start_info's, and a sum is each byte added to what is there, rotated left
# by a bit. pv32-modules is the same with 32 bits, and modules that are mapped.
#
# References: those of asm/pv64.S; xen.h (struct xen_multiboot_mod_list).
	.include "images/guests/asm/pv64.S"
	.set	SI_FLAGS, 48
	.set	SI_MOD_START, 112		# a page number
	.set	SI_MOD_LEN, 120
	.set	WINDOW, 16			# pages

	.section .note
	NOTEQ	16, 1			# MOD_START_PFN

	.text
main:	mov	start_info, %rbx
	mov	SI_FLAGS(%rbx), %eax
	mov	%rax, %r12
	mov	$s_flags, %esi
	call	puts
	mov	%r12, %rax
	call	putn
	mov	$newline, %esi
	call	puts
	# the package, into the window
	mov	start_info, %rbx
	mov	SI_MOD_START(%rbx), %r12
	mov	SI_MOD_LEN(%rbx), %r13
	add	$4095, %r13
	shr	$12, %r13
	cmp	$WINDOW, %r13
	ja	crash
	mov	$window, %ebp
1:	mov	mfn_list, %rax
	mov	(%rax,%r12,8), %rsi
	shl	$12, %rsi
	or	$RO, %rsi
	mov	%rbp, %rdi
	call	va_map
	test	%rax, %rax
	jnz	crash
	inc	%r12
	add	$4096, %rbp
	dec	%r13
	jnz	1b
	# its list
	mov	$window, %ebp
2:	mov	(%rbp), %r12d		# the first byte; addresses count from the package on
	mov	4(%rbp), %r13d		# the last one
	test	%r12d, %r12d
	jz	5f
	inc	%r13d
	sub	%r12d, %r13d
	xor	%r14d, %r14d
	lea	window(%r12), %rdi
	mov	%r13d, %ecx
3:	rol	$1, %r14d
	movzbl	(%rdi), %eax
	add	%eax, %r14d
	inc	%rdi
	dec	%ecx
	jnz	3b
	mov	$s_module, %esi
	call	puts
	mov	%r13, %rax
	call	putn
	mov	$s_space, %esi
	call	puts
	mov	%r14, %rax
	call	putn
	mov	$s_space, %esi
	call	puts
	mov	8(%rbp), %eax
	lea	window(%rax), %rsi
	call	puts
	mov	$newline, %esi
	call	puts
	add	$16, %rbp
	jmp	2b
5:	mov	$s_end, %esi
	call	puts
	jmp	exit

	.data
s_flags: .asciz	"PV-MODULES flags "
s_module: .asciz "PV-MODULES "
s_space: .asciz	" "
s_end:	.asciz	"PV-MODULES END\r\n"
	.bss
	.balign	4096
window:	.skip	4096*WINDOW
