# The guest calls, as a PV guest: what each way into the hypervisor costs there. "RDTSC" is
# the cost of timing itself, which is in all others; "CPUID" may be the processor's own, and
# is the hypervisor's with the prefix that forces it.
#
# References: those of asm/pv64.S; event_channel.h, callback.h.
	.set	EVTCHNOP_BIND_IPI, 7
	.set	UPCALL, 0		# struct shared_info.vcpu_info[0]
	.set	UPCALL_MASK, 1
	.set	SELECT, 8
	.set	MUL, 56			# .time
	.set	SHIFT, 60
	.set	PENDING, 0x800		# struct shared_info.evtchn_pending

	.include "images/guests/asm/pv64.S"
	.include "images/guests/asm/measure.S"

main:	mov	start_info, %rsi
	mov	SI_SHARED_INFO(%rsi), %rsi
	or	$RW, %rsi
	mov	$shared, %edi
	call	va_map
	test	%rax, %rax
	jnz	failed
	# the TSC's frequency: 10^9 ticks of a second in 2^-32, by the scale
	mov	$1000000, %eax
	shl	$32, %rax
	xor	%edx, %edx
	mov	shared+MUL, %ecx
	div	%rcx
	movsbl	shared+SHIFT, %ecx
	test	%ecx, %ecx
	js	1f
	shr	%cl, %rax
	jmp	2f
1:	neg	%ecx
	shl	%cl, %rax
2:	mov	%rax, khz
	HC	HC_CALLBACK_OP, $0, $callback
	test	%rax, %rax
	jnz	failed
	HC	HC_EVTCHN_OP, $EVTCHNOP_BIND_IPI, $ipi
	test	%rax, %rax
	jnz	failed
	mov	ipi+4, %eax
	mov	%eax, port
	mov	$target, %edi		# what update_va_mapping maps
	call	frame
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, entry_rw
	call	measure
	jmp	done
failed:	mov	$skip, %esi
	call	puts
done:	mov	$end, %esi
	call	puts
	jmp	exit

quiet:	movb	$1, shared+UPCALL_MASK
	ret

# What is measured.
nothing: ret
cpu_id:	mov	$1, %eax
	xor	%ecx, %ecx
	cpuid
	ret
cpu_id_forced:
	mov	$1, %eax
	xor	%ecx, %ecx
	.byte	0x0f, 0x0b, 0x78, 0x65, 0x6e	# XEN_EMULATE_PREFIX
	cpuid
	ret
version: HC	HC_XEN_VERSION, $0, $0
	ret
mapping: HC	HC_UPDATE_VA_MAPPING, $target, entry_rw, $2	# INVLPG, here
	ret
# With events masked: until the guest sees its port pending.
send:	call	notify
1:	cmpb	$0, shared+UPCALL
	je	1b
# take is what an upcall does to be asked again.
take:	movb	$0, shared+UPCALL
	movq	$0, shared+SELECT
	mov	port, %eax
	lock btr %rax, shared+PENDING
	ret
# With events on: until its handler has run.
ping:	movb	$0, seen
	call	notify
1:	cmpb	$0, seen
	je	1b
	ret
notify:	HC	HC_EVTCHN_OP, $EVTCHNOP_SEND, $port
	ret
upcalls: call	take
	movb	$0, shared+UPCALL_MASK
	ret
# upcall finds RCX, R11, RIP, CS, RFLAGS, RSP and SS on the stack.
upcall:	push	%rax
	call	take
	movb	$1, seen
	pop	%rax
	pop	%rcx
	pop	%r11
	push	$0
	jmp	hypercall_page+HC_IRET*32

	.data
	.balign	8
# name, what to do before, what to measure
table:	.quad	n_rdtsc, nothing, nothing
	.quad	n_cpuid, nothing, cpu_id
	.quad	n_forced, nothing, cpu_id_forced
	.quad	n_version, nothing, version
	.quad	n_yield, nothing, yield
	.quad	n_mapping, nothing, mapping
	.quad	n_send, nothing, send
	.quad	n_ping, upcalls, ping
	.quad	0
n_rdtsc: .asciz	"RDTSC"
n_cpuid: .asciz	"CPUID"
n_forced: .asciz "CPUID, emulated"
n_version: .asciz "hypercall xen_version"
n_yield: .asciz	"hypercall yield"
n_mapping: .asciz "update_va_mapping and INVLPG"
n_send:	.asciz	"event channel to oneself, no upcall"
n_ping:	.asciz	"event channel to oneself, upcall"
skip:	.asciz	"BENCH-SKIP a hypercall of the set-up failed\r\n"
end:	.asciz	"NIDUS-GUEST-END\r\n"
	.balign	8
callback: .short 0, 0			# struct callback_register: CALLBACKTYPE_event
	.long	0
	.quad	upcall
ipi:	.long	0, 0			# struct evtchn_bind_ipi

	.bss
	.balign	4096
shared:	.skip	4096
target:	.skip	4096
entry_rw: .skip	8
port:	.skip	4
seen:	.skip	4
