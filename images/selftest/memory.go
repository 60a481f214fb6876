//go:build tamago

package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"runtime"
	"runtime/debug"
)

var memoryChecks = []check{
	{"gc", collect},
	{"zeroed", zeroed},
	{"flush-at-entry", flushAtEntry},
}

// node is a list whose content tells whether the collector or another CPU spoiled
// it.
type node struct {
	next *node
	seed uint64
	data []byte
	sum  uint64
}

func newNode(seed uint64, next *node) *node {
	n := &node{next: next, seed: seed, data: make([]byte, 64+seed%1500)}
	for i := range n.data {
		n.data[i] = byte(seed * uint64(i+1))
	}
	n.sum = sum(n.data)
	return n
}

func sum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// collect allocates and checks on all CPUs while the collector runs.
func collect() (string, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	old := debug.SetGCPercent(20)
	defer debug.SetGCPercent(old)
	err := onEach(func(cpu int) error {
		for round := range 40 {
			var list *node
			for i := range 400 {
				list = newNode(uint64(cpu*1_000_003+round*1009+i), list)
			}
			for n := list; n != nil; n = n.next {
				if sum(n.data) != n.sum {
					return fmt.Errorf("CPU %d, round %d: node %d is spoiled", cpu, round, n.seed)
				}
			}
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	n := after.NumGC - before.NumGC
	if err == nil && n == 0 {
		err = errors.New("the collector did not run")
	}
	return fmt.Sprintf("%d collections over %d MiB", n, (after.TotalAlloc-before.TotalAlloc)>>20), err
}

// zeroed frees large pieces, gives them back (MADV_DONTNEED) and takes them again.
func zeroed() (string, error) {
	const size, rounds = 24 << 20, 6
	for r := range rounds {
		b := make([]byte, size)
		for i := 0; i < size; i += 8 {
			if b[i]|b[i+1]|b[i+2]|b[i+3]|b[i+4]|b[i+5]|b[i+6]|b[i+7] != 0 {
				return "", fmt.Errorf("round %d: byte %d of fresh memory is not zero", r, i)
			}
		}
		for i := range b {
			b[i] = 0xa5
		}
		b = nil
		if r%2 == 0 {
			debug.FreeOSMemory()
		} else {
			runtime.GC()
		}
	}
	return fmt.Sprintf("%d times %d MiB", rounds, size>>20), nil
}
