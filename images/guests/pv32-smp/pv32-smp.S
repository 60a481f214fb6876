# A 32-bit PV guest with VCPUS vcpus. vcpu 0 starts the others by VCPUOP_initialise, sends
# each IPIS events and waits for the answer to each, has them count together, and sees them
# end. Each has its number in TSC_AUX, and finds it there by RDTSCP at the end. It prints what it counted, and "PV32-SMP PASS" or "PV32-SMP FAIL". With the word
# "tick" it says each second that it lives, woken by the timer.
#
# References: those of asm/pv32.S; vcpu.h, event_channel.h, callback.h.
	.include "images/guests/asm/pv32.S"
	.set	VCPUS, 4
	.set	IPIS, 1000
	.set	ADDS, 100000
	.set	VCPUOP_INITIALISE, 0
	.set	VCPUOP_UP, 1
	.set	VCPUOP_DOWN, 2
	.set	VCPUOP_IS_UP, 3
	.set	VIRQ_TIMER, 0
	.set	MSR_TSC_AUX, 0xc0000103
	.set	CTX_FLAGS, 512			# struct vcpu_guest_context
	.set	CTX_EDI, 516+16
	.set	CTX_EIP, 516+32
	.set	CTX_CS, 516+36
	.set	CTX_EFLAGS, 516+40
	.set	CTX_ESP, 516+44
	.set	CTX_SS, 516+48
	.set	CTX_ES, 516+52
	.set	CTX_DS, 516+56
	.set	CTX_FS, 516+60
	.set	CTX_GS, 516+64
	.set	CTX_TRAPS, 584
	.set	CTX_KERNEL_SS, 2708
	.set	CTX_CR3, 2716+12
	.set	CTX_EVENT, 2780
	.set	CTX_FAILSAFE, 2788
	.set	CTX_SIZE, 2800
	.set	MASK, 1				# struct vcpu_info
	.set	SELECT, 4
	.set	TSC_AT, 40			# .time: tsc_timestamp, system_time, mul, shift
	.set	TIME_AT, 48
	.set	MUL, 56
	.set	SHIFT, 60
	.set	VCPU_INFO, 64
	.set	PENDING, 2048			# struct shared_info

main:	mov	start_info, %esi
	mov	SI_SHARED_INFO(%esi), %ecx
	or	$RW, %ecx
	HC	HC_UPDATE_VA_MAPPING, $shared, , $0, $2		# UVMF_INVLPG
	test	%eax, %eax
	jnz	failed
	HC	HC_CALLBACK_OP, $0, $event_callback
	test	%eax, %eax
	jnz	failed
	HC	HC_CALLBACK_OP, $0, $failsafe_callback
	test	%eax, %eax
	jnz	failed
	HC	HC_STACK_SWITCH, $KERNEL_DS, $stack_end
	mov	start_info, %esi
	cmpl	$0x6b636974, SI_CMDLINE(%esi)	# "tick"
	je	tick

	# an event channel for each vcpu
	xor	%edi, %edi
1:	mov	%edi, bind
	HC	HC_EVTCHN_OP, $EVTCHNOP_BIND_IPI, $bind
	test	%eax, %eax
	jnz	failed
	mov	bind+4, %eax
	mov	%eax, ports(,%edi,4)
	inc	%edi
	cmp	$VCPUS, %edi
	jb	1b
	# the others
	movl	$1, %edi
2:	call	context_of
	HC	HC_VCPU_OP, $VCPUOP_INITIALISE, %edi, $context
	test	%eax, %eax
	jnz	failed
	HC	HC_VCPU_OP, $VCPUOP_UP, %edi, $0
	test	%eax, %eax
	jnz	failed
	inc	%edi
	cmp	$VCPUS, %edi
	jb	2b
3:	call	yield
	cmpl	$VCPUS-1, online
	jb	3b
	mov	online, %eax
	mov	$s_online, %edx
	call	said

	# events to each in turn, and the answer
	movb	$0, shared+MASK
	xor	%edi, %edi
4:	mov	$1, %ebp
5:	mov	counts, %eax
	inc	%eax
	push	%eax
	lea	ports(,%ebp,4), %ecx
	HC	HC_EVTCHN_OP, $EVTCHNOP_SEND
	pop	%edx
	test	%eax, %eax
	jnz	failed
6:	cmp	%edx, counts
	jae	7f
	push	%edx
	call	yield
	pop	%edx
	jmp	6b
7:	inc	%ebp
	cmp	$VCPUS, %ebp
	jb	5b
	inc	%edi
	cmp	$IPIS, %edi
	jb	4b
	mov	counts+4, %eax
	add	counts+8, %eax
	add	counts+12, %eax
	mov	$s_ipis, %edx
	call	said
	mov	counts, %eax
	mov	$s_answers, %edx
	call	said

	# they count, and end
	movl	$1, go
	mov	$1, %ebp
1:	lea	ports(,%ebp,4), %ecx
	HC	HC_EVTCHN_OP, $EVTCHNOP_SEND
	inc	%ebp
	cmp	$VCPUS, %ebp
	jb	1b
8:	call	yield
	cmpl	$VCPUS-1, done
	jb	8b
	mov	$1, %edi
9:	call	yield
	HC	HC_VCPU_OP, $VCPUOP_IS_UP, %edi, $0
	test	%eax, %eax
	jnz	9b
	inc	%edi
	cmp	$VCPUS, %edi
	jb	9b
	mov	auxes, %eax
	mov	$s_auxes, %edx
	call	said
	mov	total, %eax
	mov	$s_total, %edx
	call	said
	mov	$passed, %eax
	call	puts
	jmp	exit

# tick: each second, by the timer of this vcpu.
tick:	movl	$VIRQ_TIMER, bind
	movl	$0, bind+4
	HC	HC_EVTCHN_OP, $EVTCHNOP_BIND_VIRQ, $bind
	test	%eax, %eax
	jnz	failed
	mov	bind+8, %eax		# struct evtchn_bind_virq: virq, vcpu, port
	mov	%eax, timer
	xor	%edi, %edi
1:	inc	%edi
	push	%edi
	mov	%edi, %eax
	mov	$s_tick, %edx
	call	said
	movb	$1, shared+MASK
	mov	counts, %edi
	call	now
	add	$1000000000, %eax
	adc	$0, %edx
	mov	%eax, %ebx
	mov	%edx, %ecx
	mov	$HC_SET_TIMER_OP, %eax
	call	hcall
2:	HC	HC_SCHED_OP, $SCHEDOP_BLOCK, $0	# with events on
	movb	$1, shared+MASK
	cmp	counts, %edi
	je	2b
	pop	%edi
	jmp	1b

# now is the system's time in EDX:EAX, ns (xen.h, struct vcpu_time_info).
now:	mov	shared+32, %ebp		# the version
	rdtsc
	sub	shared+TSC_AT, %eax
	sbb	shared+TSC_AT+4, %edx
	movsbl	shared+SHIFT, %ecx
	test	%ecx, %ecx
	js	1f
	shld	%cl, %eax, %edx
	shl	%cl, %eax
	jmp	2f
1:	neg	%ecx
	shrd	%cl, %edx, %eax
	shr	%cl, %edx
2:	mov	%edx, %esi
	mull	shared+MUL
	mov	%edx, %ebx
	mov	%esi, %eax
	mull	shared+MUL
	add	%ebx, %eax
	adc	$0, %edx
	add	shared+TIME_AT, %eax
	adc	shared+TIME_AT+4, %edx
	cmp	%ebp, shared+32
	jne	now
	test	$1, %ebp
	jnz	now
	ret

# said prints the text at EDX and the number EAX.
said:	push	%ebp
	push	%edi
	push	%eax
	mov	%edx, %eax
	call	puts
	pop	%eax
	call	putn
	mov	$newline, %eax
	call	puts
	pop	%edi
	pop	%ebp
	ret
failed:	mov	$s_fail, %edx
	call	said
	jmp	crash

# context_of makes the context of vcpu EDI, which begins at `other` with its number in
# its own EDI.
context_of:
	push	%edi
	mov	$context, %edi
	xor	%eax, %eax
	mov	$CTX_SIZE/4, %ecx
	rep stosl
	mov	$traps, %esi
	mov	$(context+CTX_TRAPS), %edi
	mov	$32*2, %ecx
	rep movsl
	pop	%edi
	movl	$4, context+CTX_FLAGS		# VGCF_in_kernel
	mov	%edi, context+CTX_EDI
	movl	$other, context+CTX_EIP
	movl	$KERNEL_CS, context+CTX_CS
	movl	$0x1000, context+CTX_EFLAGS	# IOPL_RING1; events masked
	mov	%edi, %eax
	shl	$12, %eax
	add	$(stacks), %eax			# vcpu n has the n-1st stack
	mov	%eax, context+CTX_ESP
	mov	%eax, context+CTX_KERNEL_SS+4
	movl	$KERNEL_DS, %eax
	mov	%eax, context+CTX_SS
	mov	%eax, context+CTX_ES
	mov	%eax, context+CTX_DS
	mov	%eax, context+CTX_KERNEL_SS
	movl	$KERNEL_CS, context+CTX_EVENT
	movl	$event, context+CTX_EVENT+4
	movl	$KERNEL_CS, context+CTX_FAILSAFE
	movl	$failsafe, context+CTX_FAILSAFE+4
	mov	start_info, %eax
	mov	SI_PT_BASE(%eax), %eax
	call	frame
	rol	$12, %eax			# xen_pfn_to_cr3
	mov	%eax, context+CTX_CR3
	ret

# other is where vcpu EDI begins.
other:	mov	%edi, %ebp
	shl	$6, %ebp			# its struct vcpu_info
	lock incl online
	mov	$MSR_TSC_AUX, %ecx
	mov	%edi, %eax
	xor	%edx, %edx
	wrmsr
1:	movb	$1, shared+MASK(%ebp)		# what comes after the look at go ends the block
	cmpl	$0, go
	jne	3f
	HC	HC_SCHED_OP, $SCHEDOP_BLOCK, $0
	jmp	1b
3:	mov	$ADDS, %ecx
2:	lock incl total
	loop	2b
	rdtscp
	cmp	%edi, %ecx
	jne	4f
	lock incl auxes
4:	lock incl done
	HC	HC_VCPU_OP, $VCPUOP_DOWN, %edi, $0
	ud2

# event is the upcall: EIP, CS with the mask that was in its upper half, EFLAGS are on the
# stack. The vcpu is known by its stack.
event:	push	%eax
	push	%ebx
	push	%ecx
	push	%edx
	push	%esi
	push	%edi
	push	%ebp
	mov	%esp, %edi
	sub	$stacks, %edi
	shr	$12, %edi
	inc	%edi				# 1 and up
	cmp	$VCPUS, %edi
	jb	1f
	xor	%edi, %edi			# not of these stacks
1:	mov	%edi, %ebp
	shl	$6, %ebp			# its struct vcpu_info
	movb	$0, shared(%ebp)
	xor	%eax, %eax
	xchg	%eax, shared+SELECT(%ebp)
	mov	ports(,%edi,4), %eax
	test	%edi, %edi
	jnz	2f
	cmpl	$0, timer
	cmovne	timer, %eax
2:	lock btr %eax, shared+PENDING
	jnc	3f
	lock incl counts(,%edi,4)
	test	%edi, %edi
	jz	3f
	HC	HC_EVTCHN_OP, $EVTCHNOP_SEND, $ports	# the answer
3:	pop	%ebp
	pop	%edi
	pop	%esi
	pop	%edx
	pop	%ecx
	pop	%ebx
	pop	%eax
	jmp	hypercall_page+HC_IRET*32
failsafe: ud2

	.data
	.balign	4
	# struct callback_register: type, flags, CS, EIP
event_callback: .short 0, 0
	.long	KERNEL_CS, event
failsafe_callback: .short 1, 0
	.long	KERNEL_CS, failsafe
s_online: .asciz "PV32-SMP online "
s_ipis:	.asciz	"PV32-SMP events "
s_answers: .asciz "PV32-SMP answers "
s_auxes: .asciz	"PV32-SMP own TSC_AUX "
s_total: .asciz	"PV32-SMP total "
s_tick:	.asciz	"NIDUS-GUEST-TICK "
s_fail:	.asciz	"PV32-SMP FAIL "
passed:	.asciz	"PV32-SMP PASS\r\n"
	.bss
	.balign	4096
shared:	.skip	4096
stacks:	.skip	VCPUS*4096			# vcpu n's ends at the n-th page's begin, n from 1
context: .skip	CTX_SIZE
	.balign	4
ports:	.skip	VCPUS*4
counts:	.skip	VCPUS*4				# events that each vcpu got
bind:	.skip	12
timer:	.skip	4				# the port of the timer, if it is used
online:	.skip	4
go:	.skip	4
done:	.skip	4
auxes:	.skip	4				# vcpus that found their TSC_AUX
total:	.skip	4
