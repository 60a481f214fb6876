package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"nidus/rpc/ring"
)

// dialShared connects through a file that QEMU has for an ivshmem-plain device's memory.
func dialShared(ctx context.Context, file string) (net.Conn, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const most = 1 << 30 // bytes; far more than any host lays out
	if !st.Mode().IsRegular() || st.Size() == 0 || st.Size() > most {
		return nil, fmt.Errorf("%s is no memory of a host: it has to be the file of QEMU's memory-backend-file", file)
	}
	// It stays mapped: a program has one connection, to its end.
	region, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", file, err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return ring.Dial(ctx, region, ring.Options{})
}
