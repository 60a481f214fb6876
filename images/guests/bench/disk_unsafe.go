//go:build linux

package main

import (
	"fmt"
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// Linux' asynchronous I/O (uapi linux/aio_abi.h; io_setup(2), io_submit(2),
// io_getevents(2)): with O_DIRECT it keeps several requests of one thread in flight.

// iocb is struct iocb. Linux refuses one whose reserved fields aren't 0, which Go doesn't
// promise of fields that have no name.
type iocb struct {
	data         uint64
	key, rwFlags uint32
	op           uint16
	priority     int16
	fd           uint32
	buf          uint64
	bytes        uint64
	offset       int64
	reserved     uint64
	flags, resFD uint32
}

// ioEvent is struct io_event.
type ioEvent struct {
	data, object uint64
	res, res2    int64
}

const ioRead, ioWrite = 0, 1 // IOCB_CMD_PREAD, IOCB_CMD_PWRITE

// disk measures a disk's throughput, around the page cache, over its first MiB of the
// number span: blocks in turn, so many in flight. Figures call it name.
func disk(path, name string) error {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_DIRECT|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	const span = 64 << 20
	mem, err := syscall.Mmap(-1, 0, 32<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_POPULATE)
	if err != nil {
		return err
	}
	var ctx uintptr
	if _, _, e := syscall.Syscall(syscall.SYS_IO_SETUP, 64, uintptr(unsafe.Pointer(&ctx)), 0); e != 0 {
		return fmt.Errorf("io_setup: %w", e)
	}
	fmt.Println("BENCH-BEGINS")
	for _, c := range []struct {
		op    uint16
		block int
		depth int
		total int
	}{
		{ioWrite, 1 << 20, 1, 4 * span}, {ioRead, 1 << 20, 1, 4 * span}, {ioWrite, 1 << 20, 32, 4 * span}, {ioRead, 1 << 20, 32, 4 * span},
		{ioWrite, 4096, 1, 4 << 20}, {ioRead, 4096, 1, 4 << 20}, {ioWrite, 4096, 32, span}, {ioRead, 4096, 32, span},
	} {
		var rates []float64
		for range 3 {
			begin := time.Now()
			if err := transfer(ctx, fd, mem, c.op, c.block, c.depth, c.total, span); err != nil {
				return err
			}
			rates = append(rates, float64(c.total)/(1<<20)/time.Since(begin).Seconds())
		}
		slices.Sort(rates)
		fmt.Printf("BENCH %s %s, %d KiB, depth %d MiB/s %.4g 0 %d\n", name, [...]string{"read", "write"}[c.op], c.block>>10, c.depth, rates[1], len(rates))
	}
	return nil
}

// transfer does total bytes in blocks, depth of them in flight, and begins again at the
// disk's first after span.
func transfer(ctx uintptr, fd int, mem []byte, op uint16, block, depth, total, span int) error {
	cbs := make([]iocb, depth)
	ptrs := make([]*iocb, 0, depth)
	events := make([]ioEvent, depth)
	sent, done := 0, 0
	offsets := make([]int64, depth)
	meant := func(k int) iocb {
		return iocb{data: uint64(k), op: op, fd: uint32(fd), buf: uint64(uintptr(unsafe.Pointer(&mem[k*block]))), bytes: uint64(block), offset: offsets[k]}
	}
	send := func(k int) {
		offsets[k] = int64(sent % span)
		cbs[k] = meant(k)
		ptrs = append(ptrs, &cbs[k])
		sent += block
	}
	for k := 0; k < depth && sent < total; k++ {
		send(k)
	}
	for done < total {
		for len(ptrs) > 0 {
			n, _, e := syscall.RawSyscall(syscall.SYS_IO_SUBMIT, ctx, uintptr(len(ptrs)), uintptr(unsafe.Pointer(&ptrs[0])))
			if e != 0 {
				k := (uintptr(unsafe.Pointer(ptrs[0])) - uintptr(unsafe.Pointer(&cbs[0]))) / unsafe.Sizeof(cbs[0])
				return fmt.Errorf("io_submit of context %#x: %w; the request is %+v, and was to be %+v", ctx, e, *ptrs[0], meant(int(k)))
			}
			ptrs = ptrs[:copy(ptrs, ptrs[n:])]
		}
		n, _, e := syscall.RawSyscall6(syscall.SYS_IO_GETEVENTS, ctx, 1, uintptr(depth), uintptr(unsafe.Pointer(&events[0])), 0, 0)
		switch e {
		case 0:
		case syscall.EINTR: // a signal of Go's scheduler
			continue
		default:
			return fmt.Errorf("io_getevents: %w", e)
		}
		for _, ev := range events[:n] {
			if ev.res != int64(block) {
				return fmt.Errorf("a block of %d bytes: result %d", block, ev.res)
			}
			done += block
			if sent < total {
				send(int(ev.data))
			}
		}
	}
	return nil
}
