package runtime

import _ "unsafe" // linkname

// nidusFutexBlock waits in a futex while *p is v, and gives its P away first, as
// notetsleepg does. After syscall.Syscall a P stays with its thread until sysmon takes it
// back: what the caller made runnable would wait for that, where there is one P.
//
//go:linkname nidusFutexBlock
func nidusFutexBlock(p *uint32, v uint32) {
	entersyscallblock()
	futexsleep(p, v, -1)
	exitsyscall()
}
