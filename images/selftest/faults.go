//go:build tamago

package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"unsafe"

	"nidus/kernel/baremetal"
	"nidus/kernel/cpu"
)

var faultChecks = []check{
	{"nil-dereference", func() (string, error) { return caught(func() { *(*int)(nil) = 1 }) }},
	{"fault-on-each-cpu", faultOnEach},
	{"page-0", func() (string, error) { return caught(func() { sink = *(*byte)(at(8)) }) }},
	{"text-read-only", func() (string, error) {
		text := baremetal.Pointer(uint64(codeOf(newNode)))
		return caught(func() { *(*byte)(text) = 0xcc })
	}},
	{"text-alias", textAlias},
	{"data-no-execute", func() (string, error) {
		heap := make([]byte, 64)
		heap[0] = 0xc3 // RET
		code := uintptr(unsafe.Pointer(&heap[0]))
		return caught(func() { call(code) })
	}},
	{"global-no-execute", func() (string, error) {
		return caught(func() { call(uintptr(unsafe.Pointer(&ret))) })
	}},
	{"stack-guards", stackGuards},
	{"verw", func() (string, error) { return "executed", onEach(func(int) error { cpu.ClearBuffers(); return nil }) }},
}

var (
	sink byte
	ret  byte = 0xc3
)

// at hides an address from the compiler and from vet.
//
//go:noinline
func at(va uintptr) unsafe.Pointer { return baremetal.Pointer(uint64(va)) }

func codeOf(f func(uint64, *node) *node) uintptr { return **(**uintptr)(unsafe.Pointer(&f)) }

// call calls code at an address.
//
//go:noinline
func call(code uintptr) {
	p := &code
	(*(*func())(unsafe.Pointer(&p)))()
}

// caught runs f, which must fault and be recovered.
func caught(f func()) (detail string, err error) {
	err = errors.New("nothing happened")
	defer func() {
		if p := recover(); p != nil {
			detail, err = fmt.Sprint("recovered: ", p), nil
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	f()
	return
}

// faultOnEach faults on all CPUs at the same time, often.
func faultOnEach() (string, error) {
	const times = 200
	return fmt.Sprint(times, " on each"), onEach(func(cpu int) error {
		for range times {
			if _, err := caught(func() { *(*int)(nil) = cpu }); err != nil {
				return fmt.Errorf("CPU %d: %w", cpu, err)
			}
		}
		return nil
	})
}

// textAlias writes to the text by the direct map of all memory.
func textAlias() (string, error) {
	pa := uint64(codeOf(newNode)) - baremetal.ImageBase
	return caught(func() { *(*byte)(baremetal.Pointer(baremetal.DirectMap + pa)) = 0xcc })
}

// stackGuards looks below every stack of every CPU: the page must not be mapped,
// the one above it must.
func stackGuards() (string, error) {
	n := 0
	for cpu := range baremetal.NumCPU() {
		for _, bottom := range baremetal.Stacks(cpu) {
			if baremetal.Mapped(bottom-1) || !baremetal.Mapped(bottom) {
				return "", fmt.Errorf("CPU %d: the stack from %#x on has no guard page", cpu, bottom)
			}
			n++
		}
	}
	return fmt.Sprint(n, " stacks"), nil
}
