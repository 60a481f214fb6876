# What every guest does on its way to long mode. Each macro uses EAX, ECX and EDI.

# FILL writes count entries of a table, the first one and others by that step.
	.macro	FILL table, first, step, count
	mov	$(\first), %eax
	mov	$\table, %edi
	mov	$\count, %ecx
1:	mov	%eax, (%edi)
	add	$\step, %eax
	add	$8, %edi
	loop	1b
	.endm

# IDENTITY maps 4 GiB at their own addresses with 2 MiB pages of these flags, by the
# tables l4, l3 and l2, which are zero.
	.macro	IDENTITY flags
	movl	$(l3+\flags), l4
	FILL	l3, l2+\flags, 0x1000, 4
	FILL	l2, 0x80+\flags, 0x200000, 2048
	.endm

# LONG_MODE switches paging and long mode on; a far jump into 64-bit code comes next.
	.macro	LONG_MODE cr4
	mov	$\cr4, %eax
	mov	%eax, %cr4
	mov	$l4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax		# LME
	wrmsr
	mov	$0x80010033, %eax	# PG WP NE ET MP PE
	mov	%eax, %cr0
	.endm
