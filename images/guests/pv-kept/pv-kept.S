	.text
# vcpu 1 uses a page and sleeps, while its CPU keeps its page tables and what it learned of
# them. Meanwhile vcpu 0 takes the page from there, and then wakes it: vcpu 1 must use what is
# there now. In one of four rounds the guest says nothing of it to any CPU, and makes the page
# a page table, to which vcpu 1 then writes by its old address: the hypervisor must have seen
# to it. It prints "PV-KEPT PASS" or "PV-KEPT FAIL" with the round, what vcpu 1 read, and
# whether it faulted.
#
# References: those of asm/pv64.S; event_channel.h, sched.h (struct sched_poll), vcpu.h.
	.include "images/guests/asm/pv64.S"
	.set	ROUNDS, 1000
	.set	EVTCHNOP_BIND_IPI, 7
	.set	SCHEDOP_POLL, 3
	.set	MMUEXT_PIN_L1, 0
	.set	MMUEXT_UNPIN, 4
	.set	MMUEXT_TLB_FLUSH_ALL, 10
	.set	MMUEXT_INVLPG_ALL, 11
	.set	VCPUOP_INITIALISE, 0
	.set	VCPUOP_UP, 1
	.set	CTX_FLAGS, 512		# struct vcpu_guest_context, x86_64
	.set	CTX_REGS, 520
	.set	CTX_TRAPS, 720
	.set	CTX_KERNEL_SS, 4968
	.set	CTX_CR, 4984
	.set	CTX_SIZE, 5168
	.set	REG_RIP, 128		# struct cpu_user_regs
	.set	REG_CS, 136
	.set	REG_FLAGS, 144
	.set	REG_RSP, 152
	.set	REG_SS, 160
	.set	PENDING, 0x800		# struct shared_info.evtchn_pending
	.set	FIRST, 0xa0		# in the pages; as an entry, not present
	.set	SECOND, 0xb0
	.set	WRITTEN, 0xc0

# MAP maps target by the entry \entry, with flags \flags.
	.macro	MAP entry, flags
	HC	HC_UPDATE_VA_MAPPING, $target, \entry, $\flags
	test	%rax, %rax
	jnz	failed
	.endm

	.macro	EXT command, argument
	mov	$\command, %edi
	mov	\argument, %rsi
	call	ext
	test	%rax, %rax
	jnz	failed
	.endm

main:	mov	start_info, %rsi
	mov	SI_SHARED_INFO(%rsi), %rsi
	or	$RW, %rsi
	mov	$shared, %edi
	call	va_map
	test	%rax, %rax
	jnz	failed
	HC	HC_EVTCHN_OP, $EVTCHNOP_BIND_IPI, $ipi
	test	%rax, %rax
	jnz	failed
	mov	ipi+4, %eax
	mov	%eax, port
	movq	$FIRST, target
	movq	$SECOND, second
	mov	$target, %edi
	call	frame
	mov	%rax, first_frame
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, first_entry
	mov	$second, %edi
	call	frame
	shl	$12, %rax
	or	$RW, %rax
	mov	%rax, second_entry
	mov	first_entry, %rsi	# where vcpu 0 reads the first page
	sub	$RW-RO, %rsi
	mov	$alias, %edi
	call	va_map
	test	%rax, %rax
	jnz	failed
	mov	start_info, %rdx
	mov	SI_PT_BASE(%rdx), %rdi
	call	frame
	shl	$12, %rax
	mov	%rax, context+CTX_CR+3*8
	movq	$4, context+CTX_FLAGS	# VGCF_in_kernel
	movq	$sleeper, context+CTX_REGS+REG_RIP
	movq	$PRIVATE_CS, context+CTX_REGS+REG_CS
	movq	$0x200, context+CTX_REGS+REG_FLAGS
	movq	$sleeper_stack, context+CTX_REGS+REG_RSP
	movq	$0xe02b, context+CTX_REGS+REG_SS
	movq	$0xe02b, context+CTX_KERNEL_SS
	movq	$sleeper_stack, context+CTX_KERNEL_SS+8
	mov	$sleeper_traps, %esi
	mov	$(context+CTX_TRAPS), %edi
	mov	$64, %ecx
	rep movsq
	HC	HC_VCPU_OP, $VCPUOP_INITIALISE, $1, $context
	test	%rax, %rax
	jnz	failed
	HC	HC_VCPU_OP, $VCPUOP_UP, $1, $0
	test	%rax, %rax
	jnz	failed

round:	incq	turn
1:	call	yield
	mov	turn, %rax
	cmp	%rax, asleep
	jne	1b
	mov	$20, %ebp		# it is on its way to sleep
1:	call	yield
	dec	%ebp
	jnz	1b
	mov	turn, %rax
	and	$3, %eax
	mov	%rax, way
	cmp	$1, %eax
	je	flush_all
	cmp	$2, %eax
	je	table
	cmp	$3, %eax
	je	page_all
	MAP	second_entry, UVMF_INVLPG
	jmp	wake
flush_all: MAP	second_entry, 0
	EXT	MMUEXT_TLB_FLUSH_ALL, $0
	jmp	wake
page_all: MAP	second_entry, 0
	EXT	MMUEXT_INVLPG_ALL, $target
	jmp	wake
table:	MAP	$0, 0
	EXT	MMUEXT_PIN_L1, first_frame
wake:	movq	$0, saw
	movq	$0, faulted
	HC	HC_EVTCHN_OP, $EVTCHNOP_SEND, $port
1:	call	yield
	mov	turn, %rax
	cmp	%rax, awake
	jne	1b
	cmpq	$0, early
	jne	stale
	cmpq	$2, way
	jne	1f
	cmpq	$1, faulted
	jne	stale
	cmpq	$0, alias+8
	jne	stale
	EXT	MMUEXT_UNPIN, first_frame
	jmp	2f
1:	cmpq	$SECOND, saw
	jne	stale
2:	MAP	first_entry, UVMF_INVLPG
	cmpq	$ROUNDS, turn
	jb	round
	mov	$pass, %esi
	call	puts
	jmp	exit

failed:	mov	%rax, saw
stale:	mov	$fail, %esi
	call	puts
	mov	turn, %rax
	call	puthex
	mov	saw, %rax
	call	puthex
	mov	faulted, %rax
	call	puthex
	mov	$newline, %esi
	call	puts
	jmp	crash

# vcpu 1; RBX is the round.
sleeper: xor	%ebx, %ebx
1:	call	yield
	cmp	turn, %rbx
	je	1b
	mov	turn, %rbx
	cmpq	$FIRST, target
	je	2f
	incq	early
2:	movq	$0, target+8		# the entry's dirty bit is learned, too
	mov	%rbx, asleep
	HC	HC_SCHED_OP, $SCHEDOP_POLL, $poll
	mov	port, %eax
	lock btr %rax, shared+PENDING
	cmpq	$2, way
	je	3f
	mov	target, %rax
	mov	%rax, saw
	jmp	4f
3:	movq	$WRITTEN, target+8
	jmp	4f
sleeper_fault:
	mov	$sleeper_stack, %esp
	incq	faulted
4:	mov	%rbx, awake
	jmp	1b

	.data
pass:	.asciz	"PV-KEPT PASS\r\n"
fail:	.asciz	"PV-KEPT FAIL "
	.balign	16
sleeper_traps: .set i, 0
	.rept	32
	.byte	i, 4
	.short	PRIVATE_CS
	.long	0
	.quad	sleeper_fault
	.set	i, i+1
	.endr
ipi:	.long	1, 0			# struct evtchn_bind_ipi, of vcpu 1
poll:	.quad	port
	.long	1, 0
	.quad	0			# for as long as it takes

	.bss
	.balign	4096
shared:	.skip	4096
target:	.skip	4096
second:	.skip	4096
alias:	.skip	4096
context: .skip	CTX_SIZE
	.skip	4096
sleeper_stack: .skip 16
first_frame: .skip 8
first_entry: .skip 8
second_entry: .skip 8
turn:	.skip	8
way:	.skip	8
asleep:	.skip	8
awake:	.skip	8
saw:	.skip	8
faulted: .skip	8
early:	.skip	8
port:	.skip	8
