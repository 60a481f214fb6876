# The processor: privileged instructions, gates, segments, debug registers, callbacks.

	PRIVILEGED "LGDT", lgdt pages
	PRIVILEGED "LIDT", lidt pages
	PRIVILEGED "LLDT", lldt %ax
	PRIVILEGED "LTR", ltr %ax
	PRIVILEGED "LMSW", lmsw %ax
	PRIVILEGED "HLT", hlt
	PRIVILEGED "INVD", invd
	PRIVILEGED "INVLPG", invlpg pages
	PRIVILEGED "SWAPGS", swapgs
	PRIVILEGED "SYSRET", sysretq
	PRIVILEGED "SYSEXIT", sysexitl
	PRIVILEGED "VMRUN", vmrun %rax
	PRIVILEGED "VMLOAD", vmload %rax
	PRIVILEGED "STGI", stgi
	PRIVILEGED "CLGI", clgi
	PRIVILEGED "SKINIT", skinit
	PRIVILEGED "VMMCALL", vmmcall
	PRIVILEGED "MONITOR", monitor
	PRIVILEGED "STAC", stac
	PRIVILEGED "CLI", cli
	PRIVILEGED "STI", sti
	PRIVILEGED "MOV to CR0, without paging", mov %rax, %cr0
	PRIVILEGED "MOV to CR3, frame 0", mov %rax, %cr3
	PRIVILEGED "MOV to CR8", mov %rax, %cr8
	PRIVILEGED "IN from the PIT", in $0x40, %al
	PRIVILEGED "OUT to PCI's configuration", call out_pci
	PRIVILEGED "INS from the keyboard", call ins_kbd
	PRIVILEGED "WRMSR of EFER", call wrmsr_efer
	PRIVILEGED "WRMSR of GS base, no canonical address", call wrmsr_gs
ATTACK	ANY, "MOV to CR4, 0"
	xor	%eax, %eax
	mov	%rax, %cr4
	ret
ATTACK	ANY, "MOV from CR4"
	mov	%cr4, %rax
	xor	%eax, %eax
	ret
ATTACK	ANY, "MOV from CR0"
	mov	%cr0, %rax
	xor	%eax, %eax
	ret
ATTACK	HELD, "MOV from CR3 is one's own L4"
	call	root
	mov	%rax, %r13
	mov	%cr3, %rax
	sub	%r13, %rax
	ret
ATTACK	ANY, "WRMSR of LSTAR"
	mov	$0xc0000082, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	ret
ATTACK	HELD, "hypercalls work after that"
	HC	HC_XEN_VERSION, $0, $0
	shr	$20, %rax
	ret
ATTACK	ANY, "RDMSR of LSTAR"
	mov	$0xc0000082, %ecx
	rdmsr
	xor	%eax, %eax
	ret
ATTACK	ANY, "WRMSR of the APIC's base"
	mov	$0x1b, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	ret
ATTACK	HELD, "interrupts stay on"
	pushf
	pop	%rax
	shr	$9, %eax
	and	$1, %eax
	xor	$1, %eax
	ret
ATTACK	HELD, "POPF with IF off, IOPL 3 and NT"
	push	$0x7002
	popf
	pushf
	pop	%rax
	push	$0x202
	popf
	and	$0x3200, %eax
	xor	$0x200, %eax
	ret

# Every vector by INT n: no gate is this guest's.
ATTACK	HELD, "INT with every vector"
	HC	HC_SET_TRAP_TABLE, $closed
	xor	%r13d, %r13d
	xor	%r14d, %r14d
1:	cmp	$0x82, %r14d		# Xen's own for 32-bit guests, is none for us either
	mov	%r14b, interrupt+1
	push	%r13
	push	%r14
	TRY	call interrupt
	pop	%r14
	pop	%r13
	cmpq	$13, fault_vector
	je	2f
	cmp	$3, %r14d		# may be raised
	je	2f
	cmp	$4, %r14d
	je	2f
	inc	%r13
	mov	%r14, last
2:	inc	%r14d
	cmp	$256, %r14d
	jb	1b
	mov	%r13, %rax
	ret
ATTACK	HELD, "far jumps to the hypervisor's selectors"
	xor	%r13d, %r13d
	mov	$0xe000, %r14d
1:	mov	%r14w, farptr+8
	movabs	$farthest, %rax
	mov	%rax, farptr
	push	%r13
	push	%r14
	TRY	rex.w ljmp *farptr
	pop	%r14
	pop	%r13
	cmpq	$-1, fault_vector
	jne	2f
	inc	%r13
2:	add	$8, %r14d
	cmp	$0xe018, %r14d		# from there they are the guests'
	jb	1b
	mov	%r13, %rax
	ret
farthest: ret
ATTACK	HELD, "selectors of the hypervisor that load"
	xor	%r13d, %r13d
	mov	$0xe000, %r14d
1:	TRY	mov %r14d, %fs
	cmpq	$-1, fault_vector
	jne	2f
	inc	%r13
2:	inc	%r14d
	cmp	$0xe018, %r14d
	jb	1b
	mov	$0xe038, %r14d
3:	TRY	mov %r14d, %fs
	cmpq	$-1, fault_vector
	jne	4f
	inc	%r13
4:	inc	%r14d
	cmp	$0xe078, %r14d
	jb	3b
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%r13, %rax
	ret
ATTACK	FAULT, "IRETQ to ring 0"
	mov	%rsp, %rax
	push	$0xe010
	push	%rax
	push	$0x202
	push	$0xe008
	push	$farthest
	iretq
ATTACK	REFUSED, "hypercall iret to ring 0"
	mov	%rsp, %rbp
	push	$0xe010			# the end of struct iret_context
	push	%rbp
	push	$0x3002			# events stay masked
	push	$0xe008
	push	$1f
	push	$0			# the hypercall page pushes the rest
	mov	$HC_IRET, %eax
	jmp	hcall
1:	mov	%cs, %eax
	mov	%ss, %edx
	and	%edx, %eax
	and	$3, %eax		# in ring 3 it is harmless
	cmp	$3, %eax
	mov	$-1, %rax
	je	2f
	xor	%eax, %eax
2:	ret
ATTACK	FAULT, "hypercall iret into the hypervisor"
	mov	%rsp, %rbp
	push	$0xe02b
	push	%rbp
	push	$2
	push	$0xe030			# the kernel's
	mov	$0xffff82d080200000, %rax
	push	%rax
	push	$0			# the hypercall page pushes the rest
	mov	$HC_IRET, %eax
	jmp	hcall
ATTACK	FAULT, "jump into the hypervisor"
	mov	$0xffff82d080200000, %rax
	jmp	*%rax
ATTACK	FAULT, "write to the hypervisor"
	mov	$0xffff82d080200000, %rax
	movq	$0, (%rax)
	ret
ATTACK	HELD, "read all slots of the hypervisor but the M2P's"
	xor	%r13d, %r13d
	mov	$0xffff808000000000, %r14
1:	TRY	mov (%r14), %rax
	cmpq	$14, fault_vector
	je	2f
	inc	%r13
2:	mov	$0x40000000, %eax	# each GiB
	add	%rax, %r14
	mov	$0xffff880000000000, %rax
	cmp	%rax, %r14
	jb	1b
	mov	%r13, %rax
	ret
ATTACK	HELD, "read the hypervisor's GDT and those of other vcpus by SGDT"
	sgdt	pages+4096*16
	mov	pages+4096*16+2, %r14
	TRY	mov (%r14), %rax	# UMIP or not, it is no secret
	xor	%eax, %eax
	ret
ATTACK	FAULT, "write to the GDT that SGDT tells"
	sgdt	pages+4096*16
	mov	pages+4096*16+2, %r14
	movq	$0, 0xe008(%r14)
	ret

ATTACK	ERROR, "set_segment_base: FS, no canonical address"
	HC	HC_SET_SEGMENT_BASE, $0, $0x8000000000000000
	ret
ATTACK	ERROR, "set_segment_base: GS of the kernel, no canonical address"
	HC	HC_SET_SEGMENT_BASE, $2, $0x0000800000000000
	ret
ATTACK	ERROR, "set_segment_base: GS of the user, no canonical address"
	HC	HC_SET_SEGMENT_BASE, $1, $0x0000800000000000
	ret
ATTACK	ANY, "set_segment_base: FS in the hypervisor"
	HC	HC_SET_SEGMENT_BASE, $0, $0xffff82d080200000
	ret
ATTACK	FAULT, "read by that base"
	mov	%fs:0, %rax
	ret
ATTACK	HELD, "set_segment_base: FS, 0"
	HC	HC_SET_SEGMENT_BASE, $0, $0
	ret
ATTACK	ANY, "set_segment_base: a selector that isn't"
	HC	HC_SET_SEGMENT_BASE, $3, $0xe009
	ret
ATTACK	ERROR, "set_segment_base: none such"
	HC	HC_SET_SEGMENT_BASE, $99, $0
	ret
ATTACK	ERROR, "set_debugreg: DR0 in the hypervisor"
	HC	HC_SET_DEBUGREG, $0, $0xffff82d080200000
	ret
ATTACK	ERROR, "set_debugreg: DR3 in the M2P"
	HC	HC_SET_DEBUGREG, $3, $M2P
	ret
ATTACK	ANY, "set_debugreg: DR1, no canonical address"
	HC	HC_SET_DEBUGREG, $1, $0x8000000000000000
	ret
ATTACK	ERROR, "set_debugreg: DR7's upper half"
	HC	HC_SET_DEBUGREG, $7, $0x100000000
	ret
ATTACK	ANY, "set_debugreg: DR7's general detect"
	HC	HC_SET_DEBUGREG, $7, $0x2400
	ret
ATTACK	ANY, "set_debugreg: an I/O breakpoint"
	HC	HC_SET_DEBUGREG, $7, $0x00020401
	ret
ATTACK	ANY, "DR7 is then"
	HC	HC_GET_DEBUGREG, $7
	ret
ATTACK	HELD, "set_debugreg: none"
	HC	HC_SET_DEBUGREG, $7, $0x400
	ret
ATTACK	ERROR, "set_debugreg: DR8"
	HC	HC_SET_DEBUGREG, $8, $0
	ret
ATTACK	ERROR, "get_debugreg: DR99"
	HC	HC_GET_DEBUGREG, $99
	ret
ATTACK	ANY, "stack_switch to ring 0"
	HC	HC_STACK_SWITCH, $0xe010, $stack_end
	ret
ATTACK	ANY, "stack_switch, no canonical address"
	HC	HC_STACK_SWITCH, $0xe02b, $0x8000000000000000
	ret
ATTACK	HELD, "stack_switch"
	HC	HC_STACK_SWITCH, $0xe02b, $stack_end
	ret
ATTACK	ERROR, "set_trap_table: a handler at no canonical address"
	movq	$0x0000000e03300000, %rax
	movl	$0xe0330433, badtrap
	movl	$0, badtrap+4
	mov	$0x8000000000000000, %rax
	mov	%rax, badtrap+8
	HC	HC_SET_TRAP_TABLE, $badtrap
	ret
ATTACK	ERROR, "set_trap_table: in the hypervisor"
	HC	HC_SET_TRAP_TABLE, $0xffff82d080200000
	ret
ATTACK	ANY, "set_trap_table: 1024 entries"
	HC	HC_SET_TRAP_TABLE, $endless
	ret
ATTACK	HELD, "set_trap_table"
	HC	HC_SET_TRAP_TABLE, $traps
	ret
ATTACK	ERROR, "callback_op: event handler at no canonical address"
	movq	$0, request		# CALLBACKTYPE_event
	mov	$0x8000000000000000, %rax
	mov	%rax, request+8
	HC	HC_CALLBACK_OP, $0, $request
	ret
ATTACK	ERROR, "callback_op: none such"
	movq	$99, request
	HC	HC_CALLBACK_OP, $0, $request
	ret
ATTACK	ERROR, "callback_op: in the hypervisor"
	HC	HC_CALLBACK_OP, $0, $0xffff82d080200000
	ret
ATTACK	ERROR, "physdev_op: IOPL 4"
	movl	$4, request
	HC	HC_PHYSDEV_OP, $6, $request
	ret
ATTACK	ANY, "physdev_op: IOPL 3"
	movl	$3, request
	HC	HC_PHYSDEV_OP, $6, $request
	ret
ATTACK	ANY, "with IOPL 3: CLI"
	cli
	xor	%eax, %eax
	ret
ATTACK	HELD, "and interrupts are on"
	pushf
	pop	%rax
	not	%eax
	shr	$9, %eax
	and	$1, %eax
	ret
ATTACK	ANY, "with IOPL 3: IN from the keyboard"
	in	$0x64, %al
	movzx	%al, %eax
	ret
ATTACK	ANY, "with IOPL 3: OUT to PCI's configuration"
	call	out_pci
	mov	$0xcfc, %edx
	in	%dx, %eax
	ret
ATTACK	ANY, "physdev_op: an I/O bitmap in the hypervisor"
	mov	$0xffff82d080200000, %rax
	mov	%rax, request
	movl	$65536, request+8
	HC	HC_PHYSDEV_OP, $7, $request
	ret
ATTACK	ERROR, "physdev_op: an I/O bitmap too large"
	movq	$0, request
	movl	$65537, request+8
	HC	HC_PHYSDEV_OP, $7, $request
	ret
ATTACK	ANY, "IN with that bitmap"
	movl	$0, request
	HC	HC_PHYSDEV_OP, $6, $request
	in	$0x64, %al
	movzx	%al, %eax
	ret
ATTACK	ERROR, "vm_assist: none such"
	HC	HC_VM_ASSIST, $0, $63
	ret
ATTACK	ERROR, "new CR3: a page"
	FRAME	17
	mov	%rax, %rsi
	mov	$5, %edi
	jmp	ext
ATTACK	ERROR, "new CR3: beyond memory"
	mov	$0x000ffffffffff, %rsi
	mov	$5, %edi
	jmp	ext
ATTACK	ERROR, "new CR3: an L1"
	TABLE	17
	PIN	1, 17
	FRAME	17
	mov	%rax, %rsi
	mov	$5, %edi
	jmp	ext
ATTACK	ERROR, "new CR3 of the user: an L1"
	FRAME	17
	mov	%rax, %rsi
	mov	$15, %edi
	jmp	ext
ATTACK	ANY, "new CR3 of the user: an empty L4"
	UNPIN	17
	FRAME	17
	mov	%rax, %rsi
	mov	$15, %edi
	jmp	ext
ATTACK	ERROR, "the L4 of the user is not written"
	REMAP	17, RW
	ret
ATTACK	HELD, "new CR3 of the user: none"
	xor	%esi, %esi
	mov	$15, %edi
	call	ext
	mov	%rax, %r13
	FREE	17
	or	%r13, %rax
	ret

out_pci: mov	$0xcf8, %edx
	mov	$0x80000000, %eax
	out	%eax, %dx
	ret
ins_kbd: mov	$0x60, %edx
	mov	$(pages+4096*16), %edi
	insb
	ret
wrmsr_efer: mov	$0xc0000080, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	ret
wrmsr_gs: mov	$0xc0000101, %ecx
	mov	$0x80000000, %edx
	wrmsr
	ret

	.data
interrupt: int	$0
	ret
	.balign	16
	# all exceptions, as `traps`, which nobody may raise by INT
closed:	.set	i, 0
	.rept	32
	.byte	i, 4
	.short	PRIVATE_CS
	.long	0
	.quad	stubs+16*i
	.set	i, i+1
	.endr
	.quad	0, 0
endless: .fill	512*2, 8, 0x00000000e0330433
	.bss
	.balign	8
farptr:	.skip	16
badtrap: .skip	32
	.text
