//go:build tamago

package main

import (
	"context"

	"nidus/kernel/console"
	"nidus/kernel/hostnet/metrics"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

// listenMetrics lets Prometheus connect, if the command line says where. What listens
// outlives the control planes.
func (h *host) listenMetrics() {
	port := h.Options.Net.MetricsPort
	if port == 0 || h.net == nil {
		return
	}
	l, err := h.net.ListenTCP(uint16(port))
	if err != nil {
		h.log.Printf(console.LevelError, "option metrics=%d: %v", port, err)
		return
	}
	h.scrapes = server.NewLasting(l)
	h.log.Printf(console.LevelInfo, "metrics: TCP port %d, for everybody", port)
}

// serveMetrics answers with what one control plane knows, through its life.
func (h *host) serveMetrics(ctx context.Context, p control.Plane) {
	err := metrics.Serve(ctx, h.scrapes.Until(ctx), func(page *metrics.Page) {
		metrics.Host(ctx, p, page)
		var cards []metrics.Card
		for name, s := range h.core.NICStats() {
			cards = append(cards, metrics.Card{Name: name, Stats: s})
		}
		metrics.Cards(page, cards)
		if h.nat != nil {
			f := page.Family("nidus_nat_flows", metrics.Gauge, "Connections of guests behind the host's address.")
			tcp, udp, echo := h.nat.Flows()
			f.Add(float64(tcp), "protocol", "tcp")
			f.Add(float64(udp), "protocol", "udp")
			f.Add(float64(echo), "protocol", "icmp")
		}
	})
	if err != nil {
		h.log.Printf(console.LevelError, "%v; they can't be had any more", err)
	}
}
