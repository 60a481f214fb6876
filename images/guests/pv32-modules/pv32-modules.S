# pv-modules with 32 bits, whose modules are mapped: start_info has their address.
#
# References: those of asm/pv32.S; xen.h (struct xen_multiboot_mod_list).
	.include "images/guests/asm/pv32.S"
	.set	SI_FLAGS, 40
	.set	SI_MOD_START, 72

main:	mov	$s_flags, %eax
	call	puts
	mov	start_info, %esi
	mov	SI_FLAGS(%esi), %eax
	call	putn
	mov	$newline, %eax
	call	puts
	mov	SI_MOD_START(%esi), %eax
	mov	%eax, package
	mov	%eax, %esi
2:	mov	(%esi), %edi		# the first byte; addresses count from the package on
	test	%edi, %edi
	jz	5f
	mov	4(%esi), %ecx		# the last one
	inc	%ecx
	sub	%edi, %ecx
	mov	%ecx, length
	add	package, %edi
	xor	%edx, %edx
3:	rol	$1, %edx
	movzbl	(%edi), %eax
	add	%eax, %edx
	inc	%edi
	dec	%ecx
	jnz	3b
	mov	%edx, sum
	mov	$s_module, %eax
	call	puts
	mov	length, %eax
	call	putn			# and a space
	mov	sum, %eax
	call	putn
	mov	8(%esi), %eax
	add	package, %eax
	call	puts
	mov	$newline, %eax
	call	puts
	add	$16, %esi
	jmp	2b
5:	mov	$s_end, %eax
	call	puts
	jmp	exit

	.data
s_flags: .asciz	"PV-MODULES flags "
s_module: .asciz "PV-MODULES "
s_end:	.asciz	"PV-MODULES END\r\n"
	.bss
	.balign	4
package: .skip	4
length:	.skip	4
sum:	.skip	4
