# What the hostile PV guests of both widths have in common: the guest has ATTACK, PAGE, REMAP
# and table.

# TABLE makes an empty page that is mapped read-only, FREE makes it writable again.
	.macro	TABLE n
	PAGE	\n
	call	table
	.endm
	.macro	FREE n
	REMAP	\n, RW
	.endm
# PRIVILEGED is the attack of an instruction that only ring 0 may execute.
	.macro	PRIVILEGED name, insn:vararg
ATTACK	FAULT, "\name"
	xor	%eax, %eax
	xor	%edx, %edx
	xor	%ecx, %ecx
	\insn
	ret
	.endm
