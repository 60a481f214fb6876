# What guests that measure calls one by one have in common: `measure` times each entry of
# `table` (a name, what to do before, what to measure; 0 ends it) with RDTSC, CALLS times
# after WARMUP times, each call by itself. A figure is a line
#
#   BENCH name ns median p99.9 calls mean m
#
# on the console. The guest has puts (RSI), putn (RAX), newline, and quiet, which switches
# its events off; khz is the TSC's frequency. What is measured leaves RBP and R12 to R15 as
# they are.
	.set	CALLS, 4096
	.set	WARMUP, 256

	.text
measure: lea	table, %r12
next:	cmpq	$0, (%r12)
	je	9f
	call	*8(%r12)
	mov	$WARMUP, %ebp
1:	call	*16(%r12)
	dec	%ebp
	jnz	1b
	xor	%r15d, %r15d		# sum
2:	rdtsc
	shl	$32, %rdx
	or	%rax, %rdx
	mov	%rdx, %r14
	call	*16(%r12)
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	sub	%r14, %rax
	add	%rax, %r15
	mov	%rax, samples(,%rbp,8)
	inc	%ebp
	cmp	$CALLS, %ebp
	jb	2b
	call	quiet

	# insertion sort
	mov	$1, %ecx
3:	mov	samples(,%rcx,8), %rax
	mov	%ecx, %edx
4:	mov	samples-8(,%rdx,8), %rbx
	cmp	%rax, %rbx
	jbe	5f
	mov	%rbx, samples(,%rdx,8)
	dec	%edx
	jnz	4b
5:	mov	%rax, samples(,%rdx,8)
	inc	%ecx
	cmp	$CALLS, %ecx
	jb	3b

	lea	bench, %rsi
	call	puts
	mov	(%r12), %rsi
	call	puts
	lea	unit, %rsi
	call	puts
	mov	samples+CALLS/2*8, %rax
	call	putns
	lea	space, %rsi
	call	puts
	mov	samples+CALLS*999/1000*8, %rax
	call	putns
	lea	space, %rsi
	call	puts
	mov	$CALLS, %eax
	call	putn
	lea	mean, %rsi
	call	puts
	mov	%r15, %rax
	xor	%edx, %edx
	mov	$CALLS, %ecx
	div	%rcx
	call	putns
	lea	newline, %rsi
	call	puts
	add	$24, %r12
	jmp	next
9:	ret

# putns prints RAX ticks in nanoseconds.
putns:	mov	$1000000, %ecx
	mul	%rcx
	divq	khz
	jmp	putn

	.data
bench:	.asciz	"BENCH "
unit:	.asciz	" ns "
mean:	.asciz	" mean "
space:	.asciz	" "
	.bss
	.balign	8
samples: .skip	CALLS*8
khz:	.skip	8
	.text
