//go:build tamago

package main

import (
	"sync/atomic"

	"nidus/kernel/console"
	"nidus/kernel/hostnet/speed"
)

// Bounds of who measures the host's network.
const (
	speedConns  = 4
	speedBuffer = 64 << 10
)

// listenSpeed measures TCP with whoever asks, if the command line says where.
func (h *host) listenSpeed() {
	port := h.Options.Net.SpeedPort
	if port == 0 || h.net == nil {
		return
	}
	l, err := h.net.ListenBulk(uint16(port))
	if err != nil {
		h.log.Printf(console.LevelError, "option speed=%d: %v", port, err)
		return
	}
	h.log.Printf(console.LevelWarning, "speed: TCP port %d, for everybody who wants to make this host busy", port)
	go func() {
		var open atomic.Int32
		for {
			c, err := l.Accept()
			if err != nil {
				h.log.Printf(console.LevelError, "speed: %v; it is no longer measured", err)
				return
			}
			if open.Add(1) > speedConns {
				open.Add(-1)
				c.Close()
				continue
			}
			go func() {
				defer open.Add(-1)
				defer c.Close()
				_ = speed.Serve(c, make([]byte, speedBuffer)) // an error is the other side's
			}()
		}
	}()
}
