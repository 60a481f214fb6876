// Package virtionet drives virtio's network cards (virtio 1.2, section 5.1), as ports of
// package link. Frames are sent from where they are and come in where they stay; nothing is
// copied.
package virtionet

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"nidus/drivers/device"
	"nidus/drivers/link"
	"nidus/drivers/nic"
	"nidus/drivers/pci"
	"nidus/drivers/virtio"
)

// Features (section 5.1.3).
const (
	featChecksum      = 1 << 0
	featGuestChecksum = 1 << 1
	featMTU           = 1 << 3
	featMAC           = 1 << 5
	featGuestTSO4     = 1 << 7
	featGuestTSO6     = 1 << 8
	featHostTSO4      = 1 << 11
	featHostTSO6      = 1 << 12
	featHostECN       = 1 << 13
	featMerge         = 1 << 15
	featStatus        = 1 << 16
	featControl       = 1 << 17
	featControlRx     = 1 << 18
	featQueues        = 1 << 22
	featAnyLayout     = 1 << 27 // of before 1.0, when it was no matter of course

	wanted = virtio.FeatureIndirect | virtio.FeatureEventIndex | featChecksum | featGuestChecksum | featMTU | featMAC |
		featGuestTSO4 | featGuestTSO6 | featHostTSO4 | featHostTSO6 | featHostECN | featMerge | featStatus | featControl |
		featControlRx | featQueues | featAnyLayout
)

// The configuration (section 5.1.4).
const (
	cfgMAC    = 0
	cfgStatus = 6
	cfgPairs  = 8
	cfgMTU    = 10

	statusUp = 1
)

const (
	// depth is the descriptors of each queue.
	depth = virtio.MaxQueue
	// mostPairs: each has a thread that waits for its interrupt.
	mostPairs = 8
	// lendable is how many buffers those have who take frames, at most: 4 MiB.
	lendable = 1024

	defaultMTU = 1500
	leastMTU   = 68 // RFC 791, section 3.2
)

// Owner is the driver, as an owner of PCI functions.
const Owner pci.Owner = "virtio-net"

// Card is a link.Port.
type Card struct {
	nic.State
	dev  *virtio.Device
	host device.Host
	info link.Info
	name string // with the place, for the log
	log  func(format string, args ...any)

	features uint64
	header   int  // bytes before each frame
	apart    bool // they are in a buffer of their own
	each     int  // buffers of a chain for what comes in
	pairs    []*pair
	control  control
	pool     *nic.Pool

	gone   atomic.Bool
	once   sync.Once
	closed sync.Once
	resets error
}

var _ link.Port = (*Card)(nil)

// Open sets a card up that is to be known as name. log takes a line about what happens to it
// later. The error wraps those of packages virtio and pci.
func Open(h device.Host, f *pci.Function, name string, log func(format string, args ...any)) (*Card, error) {
	dev, err := virtio.Open(h, f)
	if err != nil {
		return nil, err
	}
	c := &Card{dev: dev, host: h, name: fmt.Sprintf("%s, virtio-net at %v", name, f.Address), log: log}
	c.info.Name = name
	if err := c.setup(); err != nil {
		c.gone.Store(true)
		return nil, errors.Join(fmt.Errorf("PCI function %v: %w", f.Address, err), c.Close())
	}
	return c, nil
}

func (c *Card) setup() error {
	var err error
	if c.features, err = c.dev.Negotiate(wanted, dependent); err != nil {
		return err
	}
	pairs, offered, err := c.configure()
	if err != nil {
		return err
	}
	if c.header = headerSize; c.dev.Legacy() && c.features&featMerge == 0 {
		c.header = oldHeaderSize
	}
	c.apart = c.dev.Legacy() && c.features&(featMerge|featAnyLayout) == 0
	if c.each = 1; c.features&featMerge == 0 {
		c.each = (c.header + c.info.MTU + 18 + nic.BufferSize - 1) / nic.BufferSize
	}
	c.pool = nic.NewPool(c.host, pairs*depth*c.each, lendable)
	if err := c.dev.OnConfig(c.changed); err != nil {
		return err
	}
	for i := range pairs {
		p := &pair{c: c}
		c.pairs = append(c.pairs, p)
		// Its interrupt may come before it is complete.
		p.run.Lock()
		err := p.setup(i)
		p.run.Unlock()
		if err != nil {
			return err
		}
	}
	c.info.Take.Gather = min(link.MaxSegments, c.pairs[0].tx.q.MostBuffers()-2)
	if c.info.Take.Gather < 0 {
		return fmt.Errorf("its queue is too short: %w", virtio.ErrUnusable)
	}
	if c.features&featControl != 0 {
		if err := c.control.setup(c, 2*offered); err != nil {
			return err
		}
	}
	c.look()
	c.dev.Start()
	for _, p := range c.pairs {
		p.rx.q.Kick()
	}
	return c.command(pairs)
}

// dependent leaves features out that need others (section 5.1.3.1), and segmentation of
// what comes in where a frame has one chain of buffers only, which would have to be long.
func dependent(f uint64) uint64 {
	for _, d := range []struct{ what, needs uint64 }{
		{featGuestTSO4 | featGuestTSO6, featGuestChecksum}, {featGuestTSO4 | featGuestTSO6, featMerge},
		{featHostTSO4 | featHostTSO6, featChecksum},
		{featControlRx | featQueues, featControl},
	} {
		if f&d.needs == 0 {
			f &^= d.what
		}
	}
	if f&(featHostTSO4|featHostTSO6) == 0 {
		f &^= featHostECN
	}
	return f
}

// configure reads what the card is: how many pairs of queues are to be used, and are there.
func (c *Card) configure() (pairs, offered int, err error) {
	read := func(feature uint64, size uint64, f func(r device.Registers)) {
		if c.features&feature != 0 && err == nil {
			err = c.dev.Config(size, f)
		}
	}
	offered = 1
	mtu := defaultMTU
	read(featMAC, cfgMAC+6, func(r device.Registers) {
		for i := range c.info.MAC {
			c.info.MAC[i] = r.Load8(cfgMAC + uint64(i))
		}
	})
	read(featQueues, cfgPairs+2, func(r device.Registers) { offered = int(r.Load16(cfgPairs)) })
	read(featMTU, cfgMTU+2, func(r device.Registers) { mtu = int(r.Load16(cfgMTU)) })
	switch {
	case err != nil:
		return 0, 0, err
	case c.features&featMAC == 0 || c.info.MAC[0]&1 != 0 || c.info.MAC == link.MAC{}:
		return 0, 0, fmt.Errorf("it has no address of Ethernet, but %v: %w", c.info.MAC, virtio.ErrUnusable)
	case mtu < leastMTU:
		return 0, 0, fmt.Errorf("its frames hold %d bytes: %w", mtu, virtio.ErrUnusable)
	case offered < 1 || offered > 0x8000:
		return 0, 0, fmt.Errorf("it has %d pairs of queues: %w", offered, virtio.ErrUnusable)
	}
	c.info.MTU = mtu
	c.info.Take = link.Offloads{
		Checksum: c.features&featChecksum != 0, TCPv4: c.features&featHostTSO4 != 0, TCPv6: c.features&featHostTSO6 != 0,
	}
	return max(1, min(offered, mostPairs, c.host.CPUs(), c.dev.NumQueues()/2, c.dev.Vectors()-1)), offered, nil
}

// changed looks what has become of the device.
func (c *Card) changed() {
	if c.dev.Dead() {
		c.Lose(errors.New("it says that it does not work any more, or does not answer"))
		return
	}
	c.control.interrupt()
	if c.look() {
		up, _ := c.Up()
		c.log("%s: the link is %s", c.name, map[bool]string{true: "up", false: "down"}[up])
	}
}

// look reads whether there is a link, and tells whether that is news.
func (c *Card) look() bool {
	up := true
	if c.features&featStatus != 0 {
		if err := c.dev.Config(cfgStatus+2, func(r device.Registers) { up = r.Load16(cfgStatus)&statusUp != 0 }); err != nil {
			return false
		}
	}
	return c.SetUp(up && !c.gone.Load())
}

// Lose gives the device up: what is in flight ends, and what comes is dropped.
func (c *Card) Lose(why error) {
	c.once.Do(func() {
		c.gone.Store(true)
		c.SetUp(false)
		c.log("%s: %v; it is not used any more", c.name, why)
		if err := c.stop(); err != nil {
			c.log("%s: %v", c.name, err)
		}
	})
}

// stop resets the device and ends what it had.
func (c *Card) stop() error {
	c.closed.Do(func() {
		c.control.stop()
		for _, p := range c.pairs {
			p.tx.Stop()
		}
		c.resets = c.dev.Close()
		c.control.free(c.resets == nil)
		// A device that was reset has let go of the frames. One that can't be is no
		// master of the bus any more, but what it may still write isn't used again.
		for _, p := range c.pairs {
			p.tx.abandon(c.resets == nil)
		}
	})
	return c.resets
}

// Info implements link.Port.
func (c *Card) Info() link.Info { return c.info }

// Send implements link.Port.
func (c *Card) Send(frames []*link.Frame) {
	if len(c.pairs) == 1 {
		c.pairs[0].tx.send(frames)
		return
	}
	for from := 0; from < len(frames); {
		// Frames of one flow stay in order: they go by one queue.
		at := nic.Flow(frames[from]) % uint32(len(c.pairs))
		to := from + 1
		for to < len(frames) && nic.Flow(frames[to])%uint32(len(c.pairs)) == at {
			to++
		}
		c.pairs[at].tx.send(frames[from:to])
		from = to
	}
}

// Close implements link.Port. It waits for those who have frames that came in; a Receiver
// can't call it.
func (c *Card) Close() error {
	c.gone.Store(true)
	c.SetUp(false)
	err := c.stop()
	for _, p := range c.pairs {
		p.run.Lock() // until its interrupt's handler has ended; it sees gone
		if err == nil {
			p.rx.abandon()
		}
		p.run.Unlock()
	}
	if c.pool != nil {
		c.pool.Drain()
		c.pool.Free()
	}
	return err
}
