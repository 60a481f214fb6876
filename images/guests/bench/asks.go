//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// asks writes a node of the store and reads it, so many times, and says how many each 500 times.
func asks(times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	fd, err := device("xenbus")
	if err != nil {
		return err
	}
	s := &store{fd: fd}
	begin := time.Now()
	for i := 1; i <= n; i++ {
		value := strings.Repeat("x", i%200)
		if _, err := s.ask(xsWrite, 0, "data/asks", value); err != nil {
			return err
		}
		if got, err := s.ask(xsRead, 0, "data/asks", ""); err != nil || got != value {
			return fmt.Errorf("turn %d: read %q, not %q: %w", i, got, value, err)
		}
		if i%500 == 0 {
			fmt.Printf("ASKS %d after %.1f s\n", i, time.Since(begin).Seconds())
		}
	}
	return nil
}
