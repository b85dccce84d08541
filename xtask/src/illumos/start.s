# The first instructions of a program on illumos, by what the System V ABI for
# AMD64 (section 3.4.1) says a process starts with, and the C library's own
# data that programs bring along.
	.text
	.globl	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp		# the outermost frame
	movq	(%rsp), %rbx		# argc
	leaq	8(%rsp), %r12		# argv
	leaq	8(%r12,%rbx,8), %r13	# envp
	andq	$-16, %rsp
	movq	%r13, _environ(%rip)
	movq	%r12, ___Argv(%rip)
	movq	%rdx, %rdi		# what ld.so.1 wants called at the end
	call	atexit@PLT
	call	__fpstart@PLT
	movl	%ebx, %edi
	movq	%r12, %rsi
	movq	%r13, %rdx
	call	main
	movl	%eax, %edi
	call	exit@PLT
	hlt
	.size	_start, .-_start

	.bss
	.balign	8
	.globl	_environ, ___Argv, __longdouble_used
	.weak	environ
	.type	_environ, @object
	.type	environ, @object
	.type	___Argv, @object
	.type	__longdouble_used, @object
_environ:
environ:
	.zero	8
	.size	_environ, 8
	.size	environ, 8
___Argv:
	.zero	8
	.size	___Argv, 8
__longdouble_used:
	.zero	8
	.size	__longdouble_used, 4

	.data
	.balign	8
	.globl	__environ_lock
	.type	__environ_lock, @object
__environ_lock:				# a mutex_t that is free: DEFAULTMUTEX
	.value	0, 0, 0, 0x4d58
	.quad	0, 0
	.size	__environ_lock, 24
	.section .note.GNU-stack, "", @progbits
