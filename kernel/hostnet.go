//go:build tamago

package main

import (
	"context"
	"fmt"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/drivers/link/bridge"
	"nidus/drivers/link/pipe"
	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/console"
	"nidus/kernel/core"
	"nidus/kernel/hostnet"
	"nidus/kernel/hostnet/endpoint"
	"nidus/kernel/hostnet/nat"
)

// cardAddresses is how many addresses the bridge learns behind the host's card.
const cardAddresses = 1024

// startNetwork puts the host's card on the default bridge, and with it the host's own stack.
// Without a card the host has no network. heap is the limit of Go's, in bytes.
func (h *host) startNetwork(m device.Memory, heap uint64) {
	o := &h.Options.Net
	name := o.Uplink
	if cards := h.core.NICs(); name == "" && len(cards) > 0 {
		name = cards[0]
	}
	if name == "" || name == "none" {
		if h.Options.RPCPort != 0 || o.IP == boot.IPStatic {
			h.log.Printf(console.LevelError, "network: the host has no card that it can use; nothing of it can be reached by the network")
		}
		return
	}
	if err := h.joinNetwork(m, heap, name); err != nil {
		h.log.Printf(console.LevelError, "network: %v", err)
	}
}

func (h *host) joinNetwork(m device.Memory, heap uint64, name string) error {
	b, _, err := h.core.Bridge(core.DefaultBridge)
	if err != nil {
		return err
	}
	card, err := h.core.TakeNIC(name, "bridge "+b.Name())
	if err != nil {
		return err
	}
	if _, err := b.Join(card, bridge.Config{Addresses: cardAddresses}); err != nil {
		return err
	}
	h.log.Printf(console.LevelInfo, "bridge %s: network card %s is on it", b.Name(), name)
	if h.Options.Net.IP == boot.IPOff {
		return nil
	}
	i := card.Info()
	port, err := h.own(b, link.Info{Name: "host", MAC: i.MAC, MTU: i.MTU, Take: endpoint.Take})
	if err != nil {
		return err
	}
	h.net, err = hostnet.New(context.Background(), hostnet.Config{
		Options: h.Options.Net, Port: port, Memory: m, Name: hostname, Clock: wallClock{},
		Log: func(format string, args ...any) { h.log.Printf(console.LevelInfo, format, args...) },
	})
	if err != nil {
		return err
	}
	return h.startNAT(m, heap)
}

// natBridge is the bridge of guests that are behind the host's address, and natMAC the
// gateway's address there: a local one.
const natBridge = "nat"

var natMAC = link.MAC{0x02, 'N', 'I', 'D', 'U', 'S'}

// startNAT makes the network of guests that the host's own address stands for.
func (h *host) startNAT(m device.Memory, heap uint64) error {
	o := &h.Options.Net
	if !o.NAT.IsValid() {
		return nil
	}
	b, _, err := h.core.Bridge(natBridge)
	if err != nil {
		return err
	}
	port, err := h.own(b, link.Info{Name: "gateway", MAC: natMAC, MTU: h.net.MTU, Take: endpoint.Take})
	if err != nil {
		return err
	}
	guests := &nat.Roster{}
	_, client := h.complaints("network " + natBridge) // who connects to a forwarded port may have it complain without end
	h.nat, err = nat.New(nat.Config{Own: o.NAT, Allow: o.NATAllow, Guests: guests, Limits: nat.LimitsFor(heap), Log: client}, port, m, h.net.Stack)
	if err != nil {
		return err
	}
	h.core.VIFJoins = func(s *core.VIFSpec, name func() string) func() {
		if s.Bridge != natBridge {
			return nil
		}
		s.Guard.MAC, s.Guard.Check = true, h.nat.MaySend
		left := guests.Join(s.MAC, name)
		return func() {
			if left() {
				h.nat.Forget(s.MAC)
			}
		}
	}
	for _, f := range o.NATForward {
		if err := h.nat.Forward(nat.Forward(f)); err != nil {
			h.log.Printf(console.LevelError, "option nat-forward=: %v", err)
		}
	}
	h.log.Printf(console.LevelInfo, "bridge %s: its guests are behind the host's address, in %v", natBridge, o.NAT.Masked())
	return nil
}

// own makes a port for a stack of the host's, on a bridge.
func (h *host) own(b *bridge.Bridge, i link.Info) (link.Port, error) {
	theirs := i
	theirs.Take = endpoint.Take
	port, other := pipe.New(i, theirs)
	if _, err := b.Join(other, bridge.Config{MAC: i.MAC}); err != nil {
		return nil, fmt.Errorf("%s: %w", i.Name, err)
	}
	return port, nil
}

// addresses are the host's own.
func (h *host) addresses() []string {
	if h.net == nil {
		return nil
	}
	c, _ := h.net.Config()
	if !c.Address.IsValid() {
		return nil
	}
	return []string{c.Address.String()}
}

// wallClock is the host's time of day, as hostnet.Clock.
type wallClock struct{}

// Now implements hostnet.Clock.
func (wallClock) Now() time.Time { return time.Unix(0, baremetal.Wall()) }

// Step implements hostnet.Clock.
func (wallClock) Step(by time.Duration) { baremetal.SetWall(baremetal.Wall() + int64(by)) }
