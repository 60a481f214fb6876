//go:build linux

// Command bench measures, inside a guest, what the guest feels of its
// hypervisor. Each figure is a line "BENCH name unit median p99.9 samples". Its other
// commands do in a guest what regressions need there (others).
package main

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"nidus/images/guests/writelog"
)

// others are what it does besides, by its first argument.
var others = map[string]struct {
	least  int    // arguments that follow
	failed string // begins the line that tells of an error
	run    func(args []string) error
}{
	"grants": {1, "GRANTS failed:", grants},
	"asks":   {1, "ASKS failed:", func(args []string) error { return asks(args[0]) }},
	"avx":    {1, "AVX failed:", func(args []string) error { return avx(args[0]) }},
	"store":  {0, "STORE failed:", func([]string) error { return inTransaction() }},
	"log": {2, "LOG failed:", func(args []string) error {
		return writelog.Write(os.Stdout, args[0][0], args[1], writelog.Most)
	}},
	"fronts": {0, "FRONT failed:", func([]string) error { return fronts() }},
	"serve":  {1, "BENCH-SKIP serve:", func(args []string) error { return serveSpeed(args[0]) }},
	"tcp":    {3, "BENCH-SKIP tcp:", func(args []string) error { return tcp(args[0], args[1], args[2]) }},
	"disk":   {2, "BENCH-SKIP disk:", func(args []string) error { return disk(args[0], args[1]) }},
}

func main() {
	which := "all"
	if len(os.Args) > 1 {
		which = os.Args[1]
	}
	if o, ok := others[which]; ok {
		args := os.Args[2:]
		if len(args) < o.least {
			fmt.Println(o.failed, "too few arguments")
			os.Exit(2)
		}
		if err := o.run(args); err != nil {
			fmt.Println(o.failed, err)
			os.Exit(1)
		}
		return
	}
	failed := false
	for _, b := range []struct {
		name string
		run  func() error
	}{
		{"getppid", getppid},
		{"clock", clock},
		{"loop", loop},
		{"fork", fork},
		{"evtchn", evtchn},
	} {
		if which != "all" && which != b.name {
			continue
		}
		if err := b.run(); err != nil {
			fmt.Printf("BENCH-SKIP %s: %v\n", b.name, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// measure times batches of a call and prints a figure for one call.
func measure(name, unit string, per time.Duration, batches, batch int, call func() error) error {
	samples := make([]float64, 0, batches)
	for range batches {
		begin := time.Now()
		for range batch {
			if err := call(); err != nil {
				return err
			}
		}
		samples = append(samples, float64(time.Since(begin))/float64(batch)/float64(per))
	}
	slices.Sort(samples)
	fmt.Printf("BENCH %s %s %.4g %.4g %d\n", name, unit, samples[len(samples)/2], samples[min(len(samples)-1, len(samples)*999/1000)], len(samples))
	return nil
}

func getppid() error {
	return measure("getppid", "ns", 1, 1000, 20, func() error {
		syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		return nil
	})
}

func clock() error {
	return measure("clock_gettime", "ns", 1, 1000, 20, func() error {
		time.Now()
		return nil
	})
}

func loop() error {
	var sum uint64
	err := measure("loop of 1M additions", "us", time.Microsecond, 51, 1, func() error {
		for i := range uint64(1_000_000) {
			sum += i ^ sum
		}
		return nil
	})
	if sum == 1 { // so that the loop stays
		fmt.Println()
	}
	return err
}

// fork forks and waits for a child that ends at once. Between the two the child
// makes no call of Go: it has only one thread.
func fork() error {
	return measure("fork+wait", "us", time.Microsecond, 300, 1, func() error {
		pid, _, e := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if e != 0 {
			return fmt.Errorf("fork: %w", e)
		}
		if pid == 0 {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
		for {
			switch _, _, e := syscall.RawSyscall6(syscall.SYS_WAIT4, pid, 0, 0, 0, 0, 0); e {
			case 0:
				return nil
			case syscall.EINTR:
			default:
				return fmt.Errorf("wait: %w", e)
			}
		}
	})
}

// ioc makes an ioctl's number (uapi asm-generic/ioctl.h, _IOC_NONE).
func ioc(letter, number, size uintptr) uintptr { return size<<16 | letter<<8 | number }

// device opens a misc device of Xen's, making its node if it has none.
func device(name string) (int, error) {
	fd, err := syscall.Open("/dev/xen/"+name, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("/dev/xen/%s: %w", name, err)
	}
	return fd, nil
}

// channel makes a call of the device evtchn (uapi xen/evtchn.h).
func channel(fd int, number uintptr, arg ...uint32) (uint32, error) {
	r, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), ioc('E', number, uintptr(len(arg)*4)), uintptr(unsafe.Pointer(&arg[0])))
	if e != 0 {
		return 0, e
	}
	return uint32(r), nil
}

// portTo makes a port that domain dom may bind.
func portTo(fd int, dom uint32) (uint32, error) {
	port, err := channel(fd, 2, dom) // IOCTL_EVTCHN_BIND_UNBOUND_PORT
	if err != nil {
		return 0, fmt.Errorf("bind unbound port: %w", err)
	}
	return port, nil
}

// notify sends an event.
func notify(fd int, port uint32) error {
	_, err := channel(fd, 4, port) // IOCTL_EVTCHN_NOTIFY
	return err
}

// evtchn sends an event to this guest itself and reads it.
func evtchn() error {
	a, err := device("evtchn")
	if err != nil {
		return err
	}
	defer syscall.Close(a)
	b, err := device("evtchn")
	if err != nil {
		return err
	}
	defer syscall.Close(b)
	const domidSelf = 0x7ff0
	port, err := portTo(a, domidSelf)
	if err != nil {
		return err
	}
	to, err := channel(b, 1, domidSelf, port) // IOCTL_EVTCHN_BIND_INTERDOMAIN
	if err != nil {
		return fmt.Errorf("bind interdomain: %w", err)
	}
	buf := make([]byte, 4)
	return measure("event channel to oneself, by Linux's evtchn", "us", time.Microsecond, 1000, 1, func() error {
		if err := notify(b, to); err != nil {
			return err
		}
		if _, err := raw(a).Read(buf); err != nil {
			return err
		}
		_, err := raw(a).Write(buf)
		return err
	})
}
