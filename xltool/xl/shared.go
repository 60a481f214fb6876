package main

import (
	"context"
	"net"

	"nidus/rpc/ring"
)

// dialShared connects through a file that QEMU has for an ivshmem-plain device's memory.
func dialShared(ctx context.Context, file string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return ring.DialFile(ctx, file, ring.Options{})
}
