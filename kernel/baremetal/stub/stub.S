# The first instructions, loaded at 0x100000: 32-bit code entered by a multiboot 1
# or 2 loader or by a PVH loader, and by each application processor; it ends in
# 64-bit mode at the image's own address. mkimage fills the handover block.
#
# References: Multiboot 0.6.96, 3.1-3.2; Multiboot 2, 3.1; xen docs pvh.pandoc
# (arch-x86/hvm/start_info.h); APM vol. 2, 14.6 (initialising long mode).
	.set L3IX, 322			# (0xffff82d080000000>>30)&511
	.set PSE_RW, 0x83
	.text
	.globl entry32
	.code32
	.balign 8
mb1:	.long 0x1badb002, 3, -(0x1badb002+3)	# page-align modules, memory information
	.balign 8
mb2:	.long 0xe85250d6, 0, mb2end-mb2, -(0xe85250d6+(mb2end-mb2))
mb2req:	.word 1, 0			# information request
	.long mb2req_end-mb2req
	.long 6, 3, 1, 2		# memory map, modules, command line, loader's name
mb2req_end:
	.balign 8
	.word 3, 0			# entry address
	.long 12
	.long entry32
	.balign 8
	.word 6, 0			# modules page-aligned
	.long 8
	.balign 8
	.word 0, 0
	.long 8
mb2end:

# What Go finds: see type handover in boot.go. mkimage writes target and segments.
# cr3, target and argument say how a CPU leaves this code; Go rewrites them for
# the application processors.
	.balign 16
	.globl handover
handover:
h_cr3:	  .quad l4
h_target: .quad 0
h_arg:	  .quad handover		# in RDI
h_loader: .quad 0			# EAX and EBX at entry
h_info:	  .quad 0
h_tramp:  .quad tramp, trampend-tramp
h_nseg:	  .quad 0			# the image's segments: address, size, ELF flags
h_segs:	  .fill 3*8, 8, 0

entry32:
	cli
	cld
	mov	%eax, h_loader
	mov	%ebx, h_info
	mov	$0xff, %al		# both PICs masked
	out	%al, $0x21
	out	%al, $0xa1
	# tables: identity and direct map of the first 4 GiB, the image's alias
	mov	$tables, %edi
	mov	$((tables_end-tables)/4), %ecx
	xor	%eax, %eax
	rep stosl
	movl	$(l3low+3), l4
	movl	$(l3img+3), l4+261*8
	movl	$(l3low+3), l4+262*8
	mov	$(pd+3), %eax
	xor	%ecx, %ecx
1:	mov	%eax, l3low(,%ecx,8)
	add	$0x1000, %eax
	inc	%ecx
	cmp	$4, %ecx
	jb	1b
	movl	$(pd+3), l3img+L3IX*8
	mov	$PSE_RW, %eax
	xor	%ecx, %ecx
2:	mov	%eax, pd(,%ecx,8)
	add	$0x200000, %eax
	inc	%ecx
	cmp	$2048, %ecx
	jb	2b

# the boot CPU; an AP comes to flat32, with the same GDT
common32:
	lgdt	gdtr
	ljmp	$0x18, $flat32
flat32:	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$0x6a0, %eax		# PAE PGE OSFXSR OSXMMEXCPT
	mov	%eax, %cr4
	mov	h_cr3, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x900, %eax		# LME NXE
	wrmsr
	mov	$0x80010033, %eax	# PG WP NE ET MP PE
	mov	%eax, %cr0
	ljmp	$8, $long64
	.code64
long64:	mov	h_arg, %rdi
	jmp	*h_target

# Copied by Go to a free page below 1 MiB: an AP's first instructions.
	.code16
	.balign 16
tramp:	cli
	cld
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	trampgdtr-tramp
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$0x18, $flat32
	.balign 4
trampgdtr:
	.word 31
	.long gdt
trampend:

	.balign 8
gdt:	.quad 0, 0x00209a0000000000, 0x00cf92000000ffff, 0x00cf9a000000ffff
gdtr:	.word 31
	.long gdt

	.balign 4
	.globl note
note:	.long 4, 4, 18			# XEN_ELFNOTE_PHYS32_ENTRY
	.asciz	"Xen"
	.long	entry32
	.globl note_end
note_end:

	.bss
	.balign 4096
	.globl tables
tables:
l4:	.skip 4096
l3low:	.skip 4096
l3img:	.skip 4096
pd:	.skip 4*4096
tables_end:
