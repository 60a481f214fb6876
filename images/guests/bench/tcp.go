//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"nidus/kernel/hostnet/speed"
)

// socket makes a TCP socket without package net, which would make each guest's initramfs
// larger by a third.
func socket() (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, errors.Join(syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1), syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
}

const speedBuffer = 64 << 10

// serveSpeed answers who measures, one after another, for ever.
func serveSpeed(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	fd, err := socket()
	if err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(n)}); err != nil {
		return err
	}
	if err := syscall.Listen(fd, 4); err != nil {
		return err
	}
	fmt.Println("NIDUS-GUEST-SERVES")
	for {
		c, _, err := syscall.Accept(fd)
		if err != nil {
			return err
		}
		if err := speed.Serve(raw(c), make([]byte, speedBuffer)); err != nil {
			fmt.Println(err)
		}
		syscall.Close(c)
	}
}

// tcp measures a connection to address (with a port), which figures call who, with
// size MiB for each of its three transfers one way and three the other.
func tcp(address, who, size string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(size, 10, 32)
	if err != nil {
		return err
	}
	fd, err := socket()
	if err != nil {
		return err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}); err != nil {
		return err
	}
	defer syscall.Close(fd)
	buf := make([]byte, speedBuffer)
	fmt.Println("BENCH-BEGINS")
	const rounds = 300
	for _, k := range []struct {
		kind byte
		n    uint32
		name string
		unit string
		rate func(seconds float64) float64
	}{
		{speed.Send, uint32(n), "TCP, guest to " + who, "MiB/s", func(s float64) float64 { return float64(n) / s }},
		{speed.Receive, uint32(n), "TCP, " + who + " to guest", "MiB/s", func(s float64) float64 { return float64(n) / s }},
		{speed.RoundTrip, rounds, "TCP, a byte to " + who + " and back", "us", func(s float64) float64 { return s / rounds * 1e6 }},
	} {
		var all []float64
		for range 3 {
			took, err := speed.Ask(raw(fd), k.kind, k.n, buf)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			all = append(all, k.rate(took.Seconds()))
		}
		slices.Sort(all)
		fmt.Printf("BENCH %s %s %.4g 0 %d\n", k.name, k.unit, all[1], len(all))
	}
	return nil
}
