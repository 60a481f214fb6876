# A PVH guest that measures what each way into the hypervisor costs, without an
# operating system around it: on Nidus and, the same file, on Xen (asm/measure.S).
# "RDTSC" is the cost of timing itself, which is in all others: an emulated TSC (tsc_mode)
# shows here.
#
# References: xen docs misc/pvh; public headers arch-x86/hvm/start_info.h,
# arch-x86/cpuid.h, xen.h, sched.h, event_channel.h, memory.h, io/console.h,
# hvm/hvm_op.h, hvm/params.h.
	.set	VECTOR, 0x30
	.set	HC_MEMORY_OP, 12
	.set	HC_XEN_VERSION, 17
	.set	XENMEM_ADD_TO_PHYSMAP, 7
	.set	EVTCHNOP_BIND_IPI, 7
	.set	PARAM_CALLBACK_IRQ, 0
	.set	UPCALL, 0		# struct shared_info.vcpu_info[0]
	.set	SELECT, 8
	.set	PENDING, 0x800		# struct shared_info.evtchn_pending

	.include "images/guests/asm/start.S"
	.include "images/guests/asm/measure.S"

main:
	lea	upcall, %rax		# the only gate
	lea	idt+VECTOR*16, %rdi
	mov	%ax, (%rdi)
	movw	$8, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	shr	$16, %rax
	mov	%ax, 6(%rdi)
	lidt	idtr
	mov	xen_leaves, %eax
	add	$3, %eax
	xor	%ecx, %ecx
	cpuid
	mov	%rcx, khz
	lea	shared, %rax		# XENMAPSPACE_shared_info is 0
	shr	$12, %rax
	mov	%rax, physmap+16
	mov	$XENMEM_ADD_TO_PHYSMAP, %edi
	lea	physmap, %rsi
	mov	$HC_MEMORY_OP, %eax
	call	hcall
	test	%rax, %rax
	jnz	failed
	mov	$EVTCHNOP_BIND_IPI, %edi
	lea	ipi, %rsi
	mov	$HC_EVTCHN_OP, %eax
	call	hcall
	test	%rax, %rax
	jnz	failed
	mov	ipi+4, %eax
	mov	%eax, port

	call	measure
	jmp	done
failed:	lea	skip, %rsi
	call	puts
done:	lea	end, %rsi
	call	puts
	jmp	poweroff

quiet:	cli
	ret

# What is measured. Each leaves RBP and R12 to R15 as they are.
nothing: ret
cpu_id:	mov	$1, %eax
	xor	%ecx, %ecx
	cpuid
	ret
port_in: in	$0xe0, %al		# nothing is there; Xen leaves 0x80 to the guest
	ret
version: xor	%edi, %edi		# XENVER_version
	xor	%esi, %esi
	mov	$HC_XEN_VERSION, %eax
	jmp	hcall
# With interrupts off: until the guest sees its port pending.
send:	call	notify
1:	cmpb	$0, shared+UPCALL
	je	1b
# take is what an upcall does to be asked again.
take:	movb	$0, shared+UPCALL
	movq	$0, shared+SELECT
	mov	port, %eax
	lock btr %rax, shared+PENDING
	ret
# With interrupts on: until its handler has run.
ping:	movb	$0, seen
	call	notify
1:	cmpb	$0, seen
	je	1b
	ret
notify:	mov	$EVTCHNOP_SEND, %edi
	lea	port, %rsi
	mov	$HC_EVTCHN_OP, %eax
	jmp	hcall

upcall:	push	%rax
	call	take
	movb	$1, seen
	pop	%rax
	iretq

# upcalls asks for the handler.
upcalls:
	movl	$PARAM_CALLBACK_IRQ, hvmparam+4
	mov	$((2<<56)|VECTOR), %rax
	mov	%rax, hvmparam+8
	mov	$HVMOP_SET_PARAM, %edi
	lea	hvmparam, %rsi
	mov	$HC_HVM_OP, %eax
	call	hcall
	test	%rax, %rax
	jnz	failed
	sti
	ret

	.data
	.balign	8
# name, what to do before, what to measure
table:	.quad	n_rdtsc, nothing, nothing
	.quad	n_cpuid, nothing, cpu_id
	.quad	n_port, nothing, port_in
	.quad	n_version, nothing, version
	.quad	n_yield, nothing, yield
	.quad	n_send, nothing, send
	.quad	n_ping, upcalls, ping
	.quad	0
n_rdtsc: .asciz	"RDTSC"
n_cpuid: .asciz	"CPUID"
n_port:	.asciz	"port read"
n_version: .asciz "hypercall xen_version"
n_yield: .asciz	"hypercall yield"
n_send:	.asciz	"event channel to oneself, no upcall"
n_ping:	.asciz	"event channel to oneself, upcall"
skip:	.asciz	"BENCH-SKIP a hypercall of the set-up failed\r\n"
end:	.asciz	"NIDUS-GUEST-END\r\n"
newline: .asciz	"\r\n"
	.balign	8
physmap: .short	0x7ff0, 0		# struct xen_add_to_physmap: DOMID_SELF, size
	.long	0			# XENMAPSPACE_shared_info
	.quad	0, 0			# idx, gpfn
ipi:	.long	0, 0			# struct evtchn_bind_ipi
idtr:	.word	256*16-1
	.quad	idt

	.bss
	.balign	4096
shared:	.skip	4096
idt:	.skip	4096
port:	.skip	4
seen:	.skip	4
