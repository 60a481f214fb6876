//go:build tamago

package main

import (
	"context"

	"nidus/kernel/console"
	"nidus/rpc/control"
	"nidus/rpc/mtls"
	"nidus/rpc/server"
)

// listenTLS lets clients of the network connect, as far as the host is in one. What listens
// outlives the control planes, one of which serves at a time.
func (h *host) listenTLS(keyFile []byte) {
	if h.Options.RPCPort == 0 || h.net == nil {
		return
	}
	key, made, err := mtls.HostIdentity(keyFile, hostname)
	if err != nil {
		h.log.Printf(console.LevelError, "option rpc=tls: %v", err)
	}
	if key == nil {
		return
	}
	l, err := h.net.ListenBulk(uint16(h.Options.RPCPort))
	if err != nil {
		h.log.Printf(console.LevelError, "option rpc=tls: port %d: %v", h.Options.RPCPort, err)
		return
	}
	_, client := h.complaints("TLS")
	h.tls = server.NewLasting(mtls.Listen(l, mtls.Options{Identity: key, Clients: h.core.Clients, Log: client}))
	more := ""
	if made {
		more = ", which is new; certs/host.key would keep one"
	}
	h.log.Printf(console.LevelInfo, "control plane: TCP port %d, by TLS; the host's key is %v%s", h.Options.RPCPort, key.Fingerprint, more)
}

// serveTLS serves one control plane, through its life, to clients of the network.
func (h *host) serveTLS(ctx context.Context, p control.Plane) {
	complain, client := h.complaints("TLS")
	s := server.New(p, server.Options{Name: "Nidus", Log: client})
	ctx, ended := h.remote.begin(ctx, s.HostEnds)
	defer ended()
	if err := s.Serve(ctx, h.tls.Until(ctx)); err != nil {
		complain("%v; nobody can connect any more", err)
	}
}
